// The documents of several files in memory: a text or token ids, one document after another.
//
//   const Documents documents = read_documents(find_sources({"tunes/"}), {});
//   const std::vector<std::int32_t> ids = encode_documents(documents, *tokenizer, {});
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nn/data/sources.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

struct Documents {
  Reader::Yields yields = Reader::Yields::text;
  std::string text;                // of all documents
  std::vector<std::int32_t> ids;   // or their ids
  std::vector<std::int64_t> ends;  // where each ends, in bytes of `text` or in ids
  std::string source;              // for errors: the file, or "a.txt and 2 more files"
  std::int64_t vocabulary = 0;     // of ids: what all files allow at least, or the largest id + 1
  std::int64_t rate = 0;           // of sound: samples a second

  bool has_ids() const { return yields == Reader::Yields::ids; }
  std::int64_t count() const { return static_cast<std::int64_t>(ends.size()); }
  std::int64_t begin(std::int64_t document) const;
};

// FormatError, ValueError as Reader::read; FormatError also for sound of several rates.
Documents read_documents(const SourceList& list, const ReaderOptions& options);

// The ids of all documents, each followed by `document_token` if one is given; `ends` gets where each ends. Documents
// of ids are taken as they are. Errors as Tokenizer::encode_into.
struct EncodedDocuments {
  std::vector<std::int32_t> ids;
  std::vector<std::int64_t> ends;
};
EncodedDocuments encode_documents(const Documents& documents, const Tokenizer* tokenizer,
                                  std::optional<std::int32_t> document_token);

// Which documents are for validation: of fraction f the i-th (from 0) where round(f i + f) > round(f i), so that they
// are spread evenly, whatever the order of the documents.
bool is_validation_document(std::int64_t i, double fraction);

// FormatError when one holds text and the other ids, or sound of another rate.
void require_same_kind(const Documents& train, const Documents& valid);

// From so many documents on, a split is made by document; below, by token.
inline constexpr std::int64_t kDocumentsToSplit = 20;

// Splits by document, or, of fewer than kDocumentsToSplit documents, at token floor((1 - fraction) n). The documents of
// each part keep their order.
struct SplitDocuments {
  EncodedDocuments train, valid;
};
SplitDocuments split_documents(const EncodedDocuments& all, double fraction);

// Tokens of n that are for training when a text is cut in two: floor((1 - fraction) n), with the fraction to a
// millionth.
std::int64_t training_tokens(std::int64_t n, double fraction);

}  // namespace mixgrad
