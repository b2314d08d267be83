// tokenizer.json of Hugging Face; what is accepted must come back, encode texts within its ids, and decode them.
#include "nn/tokenizers/hugging_face/hugging_face_tokenizer.h"

#include "core/text/utf8.h"
#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  const TokenizerPtr tokenizer = hugging_face_tokenizer(text, "fuzz");
  MIXGRAD_ASSERT(tokenizer->to_json() == text, "a tokenizer is stored as its file");
  for (const std::string_view sample :
       {" ab  <s>a b\nab1 \xff\xc3", "abcabc<0x41>\u2581 caf\u00e9 e\u0301", "<a b> ab"}) {
    std::vector<std::int32_t> ids;
    try {
      ids = tokenizer->encode(sample);
    } catch (const ValueError&) {  // no token for a character
      MIXGRAD_ASSERT(!tokenizer->expresses_any_text(), "only a poor vocabulary refuses a text");
      continue;
    }
    MIXGRAD_ASSERT(ids.size() <= tokenizer->max_tokens(sample), "as many tokens as are reserved for");
    for (const std::int32_t id : ids) MIXGRAD_ASSERT(id >= 0 && id < tokenizer->vocab_size(), "ids in range");
    (void)tokenizer->decode(ids);
  }
}

}  // namespace mixgrad
