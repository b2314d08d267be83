// Byte pairs learned from any bytes: the text comes back, the tokenizer is stored and read back as it was.
// An execution trains a tokenizer and makes the tables of 256 bytes and the merges, 2 to 3 ms with the sanitizers for
// 512 bytes and more, and tables and file once more to read it back. So texts are cut to 256 bytes, enough for all
// eight merges, and one in eight is read back.
#include "nn/tokenizers/bpe_tokenizer.h"

#include "nn/tokenizers/tokenizer_types.h"
#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view all) {
  constexpr std::size_t kMostBytes = 256, kReadBack = 8;
  const std::string_view text = all.substr(0, kMostBytes);
  const TokenizerPtr tokenizer = make_tokenizer("bpe:264", {.text = text, .source = "fuzz"});
  if (all.size() % kReadBack == 0) {
    MIXGRAD_ASSERT(*load_tokenizer(tokenizer->to_json(), "again") == *tokenizer, "a tokenizer is read back as it was");
  }
  MIXGRAD_ASSERT(tokenizer->decode(tokenizer->encode(text)) == text, "the text comes back");
}

}  // namespace mixgrad
