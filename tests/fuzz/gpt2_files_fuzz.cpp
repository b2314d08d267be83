// GPT-2's two files, with a line of three dashes between them; what is accepted must encode and decode.
#include "nn/tokenizers/hugging_face/hugging_face_tokenizer.h"
#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  const std::size_t dashes = text.find("---\n");
  if (dashes == std::string_view::npos) return;
  const std::string json = gpt2_tokenizer_json(text.substr(0, dashes), text.substr(dashes + 4), "vocab", "merges");
  const TokenizerPtr tokenizer = hugging_face_tokenizer(json, "fuzz");
  try {
    const std::string_view sample = "ab abab b";
    MIXGRAD_ASSERT(tokenizer->decode(tokenizer->encode(sample)) == sample, "the text comes back");
  } catch (const ValueError&) {  // no token for a byte
    MIXGRAD_ASSERT(!tokenizer->expresses_any_text(), "only a poor vocabulary refuses a text");
  }
}

}  // namespace mixgrad
