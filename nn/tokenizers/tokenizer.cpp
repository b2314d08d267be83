#include "nn/tokenizers/tokenizer.h"

#include <utility>

#include "core/error.h"
#include "core/text/utf8.h"

namespace mixgrad {
namespace {

// The pieces, one after the other, but for the beginning of a character that is still incomplete.
class PieceDecoder : public TokenDecoder {
 public:
  explicit PieceDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  std::string next(std::int32_t id) override {
    pending_ += tokenizer_.piece(id);
    return take_complete(pending_);
  }
  std::string finish() override { return std::exchange(pending_, {}); }

 private:
  const Tokenizer& tokenizer_;
  std::string pending_;
};

}  // namespace

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, const std::string& source) const {
  std::vector<std::int32_t> ids;
  ids.reserve(max_tokens(text));
  encode_into(text, source, [&](std::span<const std::int32_t> part, std::size_t) {
    ids.insert(ids.end(), part.begin(), part.end());
  });
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  const std::unique_ptr<TokenDecoder> decoder = new_decoder();
  std::string text;
  for (const std::int32_t id : ids) text += decoder->next(id);
  return text + decoder->finish();
}

std::unique_ptr<TokenDecoder> Tokenizer::new_decoder() const { return std::make_unique<PieceDecoder>(*this); }

void Tokenizer::check_id(std::int32_t id) const {
  if (id < 0 || id >= vocab_size()) {
    raise<ValueError>("tokenizer: a token id must be from 0 to ", vocab_size() - 1, "; got ", id,
                      "; check that model and tokenizer belong together");
  }
}

}  // namespace mixgrad
