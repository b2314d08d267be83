#include "nn/tokenizers/byte_tokenizer.h"

#include <algorithm>

#include "nn/files/strict_json.h"
#include "nn/tokenizers/built_in.h"

namespace mixgrad {
namespace {

class ByteTokenizer : public Tokenizer {
 public:
  ByteTokenizer() {
    for (std::size_t i = 0; i < ids_.size(); ++i) ids_[i] = static_cast<std::int32_t>(i);
  }

  std::int64_t vocab_size() const override { return 256; }
  const std::array<std::int32_t, 256>* byte_ids() const override { return &ids_; }

  void encode_into(std::string_view text, const std::string&, const TokenSink& sink) const override {
    std::array<std::int32_t, 4096> ids;
    for (std::size_t done = 0; done < text.size();) {
      const std::string_view part = text.substr(done, ids.size());
      for (std::size_t i = 0; i < part.size(); ++i) ids[i] = static_cast<unsigned char>(part[i]);
      done += part.size();
      sink(std::span(ids).first(part.size()), done);
    }
  }

  std::string piece(std::int32_t id) const override {
    check_id(id);
    return {static_cast<char>(static_cast<unsigned char>(id))};
  }
  std::int64_t byte_count(std::int32_t id) const override {
    check_id(id);
    return 1;
  }
  std::optional<std::int32_t> id_of(std::string_view piece) const override {
    if (piece.size() != 1) return std::nullopt;
    return static_cast<unsigned char>(piece[0]);
  }

  std::string to_json() const override { return "{\"type\":\"byte\"}\n"; }

 private:
  std::array<std::int32_t, 256> ids_{};
};

TokenizerPtr load_byte(std::string_view text, const std::string& source) {
  json_exact_keys(parse_strict_json(text, source), {source, ""}, {"type"});
  return byte_tokenizer();
}

}  // namespace

TokenizerPtr byte_tokenizer() { return std::make_shared<ByteTokenizer>(); }

TokenizerType built_in::byte_tokenizer_type() {
  return {.name = "byte",
          .summary = "256 tokens, any file",
          .make = [](const TokenizerInput&) { return byte_tokenizer(); },
          .load = load_byte};
}

}  // namespace mixgrad
