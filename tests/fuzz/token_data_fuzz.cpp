// A text as bytes, and as characters of its own: decoding gives it back.
#include "nn/data/token_data.h"

#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  for (const char* type : {"byte", "char"}) {
    const TokenizerPtr tokenizer = make_tokenizer(type, {.text = text, .source = "fuzz"});
    const TokenData data = TokenData::from_text(std::string(text), tokenizer, "fuzz");
    std::vector<std::int32_t> ids(static_cast<std::size_t>(data.size()));
    data.gather(0, data.size(), ids.data());
    MIXGRAD_ASSERT(tokenizer->decode(ids) == text, "the text comes back");
    const EvalWindows windows(data, data.valid(), 4);
    const Tensor tokens = Tensor::empty({2, 4}, DType::i32);
    const Tensor targets = Tensor::empty({2, 4}, DType::i32);
    for (std::int64_t i = 0; i < windows.count(); i += 2) windows.fill(i, tokens, targets);
  }
}

}  // namespace mixgrad
