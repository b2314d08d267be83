// Data that `mixgrad data prepare` made: a folder with token ids in shards, their tokenizer, and a manifest.
//   DIR/manifest.json     what is there (below)
//   DIR/tokenizer.json    of the ids
//   DIR/data-00000.u16    ids, little-endian, of 16 bits where the vocabulary has at most 65,536, else .u32
// or, of data that are split by document, train-00000.u16 ... and valid-00000.u16 ...; the tokens of all shards in the
// order of the manifest are one sequence.
//   {"format": "mixgrad-data-1", "width": 2, "vocab_size": 65, "tokens": 1115394, "train_tokens": 1003854,
//    "valid_apart": false, "documents": 1, "shortest": 1115394, "longest": 1115394, "rate": 0,
//    "source": {"files": 1, "bytes": 1115394}, "tokenizer_xxh3": "...",
//    "document_token": 10,                     only where one stands behind each document
//    "shards": [{"file": "data-00000.u16", "tokens": 1115394, "xxh3": "..."}]}
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/data/token_data.h"
#include "nn/data/token_shards.h"

namespace mixgrad {

inline constexpr const char* kManifestName = "manifest.json";

struct PreparedManifest {
  std::size_t width = 2;                                  // bytes of an id
  std::int64_t vocab_size = 0;                            // ids are below it
  std::int64_t tokens = 0, train_tokens = 0;              // of all shards, and the first of them
  bool valid_apart = false;                               // the validation part does not continue the training part
  std::int64_t documents = 0, shortest = 0, longest = 0;  // how many, and their lengths in tokens
  std::int64_t rate = 0;                                  // of sound: samples a second
  std::int64_t source_files = 0, source_bytes = 0;
  std::string tokenizer_xxh3;
  std::optional<std::int32_t> document_token = {};  // which stands behind each document
  std::vector<ShardEntry> shards;
};

std::string to_json(const PreparedManifest& manifest);
// FormatError, strict; `source` names the file. The names of shards are plain names within the folder.
PreparedManifest parse_manifest(std::string_view text, const std::string& source);

// Whether the path is a folder with a manifest.
bool is_prepared(const std::filesystem::path& path);
PreparedManifest read_manifest(const std::filesystem::path& folder);
// The tokenizer of the folder. FormatError: not the one that the manifest names.
TokenizerPtr read_prepared_tokenizer(const std::filesystem::path& folder, const PreparedManifest& manifest);

// With Identify::yes every byte is read and compared with the hashes of the manifest, whose own hash is the text_id().
// FormatError: anything that does not fit together. IoError.
TokenData open_prepared(const std::filesystem::path& folder, Identify identify);

}  // namespace mixgrad
