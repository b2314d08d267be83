// tokenizer.json; what is accepted must come back, and decode every id.
#include "nn/tokenizers/tokenizer_types.h"

#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  const TokenizerPtr tokenizer = load_tokenizer(text, "fuzz");
  MIXGRAD_ASSERT(*load_tokenizer(tokenizer->to_json(), "again") == *tokenizer, "a tokenizer is read back as it was");
  for (std::int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    const std::string piece = tokenizer->piece(id);
    MIXGRAD_ASSERT(static_cast<std::int64_t>(piece.size()) == tokenizer->byte_count(id), "bytes of a token");
    if (piece.empty()) continue;
    const auto back = tokenizer->id_of(piece);
    MIXGRAD_ASSERT(back && tokenizer->piece(*back) == piece, "a piece leads back to an id with these bytes");
  }
}

}  // namespace mixgrad
