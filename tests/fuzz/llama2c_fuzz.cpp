// llama2.c's tokenizer.bin; what is accepted must be stored and read back as it was, and give any bytes back.
#include "nn/tokenizers/llama2c_tokenizer.h"

#include <algorithm>

#include "nn/tokenizers/tokenizer_types.h"
#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  (void)begins_llama2c(text);
  const TokenizerPtr tokenizer = read_llama2c(text, "fuzz");
  MIXGRAD_ASSERT(*load_tokenizer(tokenizer->to_json(), "again") == *tokenizer, "a tokenizer is read back as it was");
  const std::string_view end = text.substr(text.size() - std::min<std::size_t>(text.size(), 300));
  for (const std::string_view sample : {std::string_view(" the <0x41> caf\u00e9\xff"), end}) {
    const std::vector<std::int32_t> ids = tokenizer->encode(sample);
    for (const std::int32_t id : ids) MIXGRAD_ASSERT(id >= 0 && id < tokenizer->vocab_size(), "ids in range");
    MIXGRAD_ASSERT(tokenizer->decode(ids) == sample, "the text comes back");
  }
}

}  // namespace mixgrad
