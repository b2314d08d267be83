// Makes a folder of prepared data (nn/data/prepared.h) from sources of any size, with memory that does not grow with
// them.
//
//   prepare_data({.spec = {.sources = {"books/"}}, .tokenizer = type, .out = "data/"});
//
// The sources are read twice: for the documents and, of `char`, their characters; then to encode them, several
// documents at a time on all threads. The same sources, read and split in the same way, give the same bytes. Everything
// is written beside `out` under a name that begins with a point, and renamed when it is whole and durable: a run that
// is killed leaves no `out`, and the next one removes what it left.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "nn/data/data_set.h"
#include "nn/data/prepared.h"

namespace mixgrad {

struct PrepareProgress {
  enum class Pass : std::uint8_t { counting, encoding };
  Pass pass = Pass::counting;
  std::uint64_t bytes = 0, all_bytes = 0;  // of the sources, of this pass
};

struct PrepareOptions {
  DataSpec spec;
  std::string tokenizer = "char";  // the name of a type; of token ids without meaning
  TokenizerPtr known = nullptr;    // or a tokenizer that exists
  std::filesystem::path out;       // must not exist
  std::int64_t shard_tokens = INT64_C(1) << 24U;
  std::function<void(const PrepareProgress&)> progress = {};
};

// A tokenizer other than char and byte that is made from a text is made from so many bytes of it at most, the first.
inline constexpr std::size_t kTokenizerSample = std::size_t{64} << 20U;

// ValueError: `out` exists, or as Reader::read. FormatError,
// IoError as reading and TokenData. Ends with Interrupted on a stop request; then nothing is left.
PreparedManifest prepare_data(const PrepareOptions& options);

}  // namespace mixgrad
