// Byte pairs learned from any bytes: the text comes back, the tokenizer is stored and read back as it was.
#include "nn/tokenizers/bpe_tokenizer.h"

#include "nn/tokenizers/tokenizer_types.h"
#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  const TokenizerPtr tokenizer = make_tokenizer("bpe:264", {.text = text, .source = "fuzz"});
  MIXGRAD_ASSERT(*load_tokenizer(tokenizer->to_json(), "again") == *tokenizer, "a tokenizer is read back as it was");
  MIXGRAD_ASSERT(tokenizer->decode(tokenizer->encode(text)) == text, "the text comes back");
}

}  // namespace mixgrad
