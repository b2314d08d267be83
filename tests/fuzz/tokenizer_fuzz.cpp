// tokenizer.json; what is accepted must come back, and decode every id.
#include "nn/tokenizers/tokenizer.h"

#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  const Tokenizer tokenizer = Tokenizer::from_json(text, "fuzz");
  MIXGRAD_ASSERT(Tokenizer::from_json(tokenizer.to_json(), "again") == tokenizer, "a tokenizer is read back as it was");
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    MIXGRAD_ASSERT(static_cast<std::int64_t>(tokenizer.decode(id).size()) == tokenizer.byte_count(id),
                   "bytes of a token");
  }
}

}  // namespace mixgrad
