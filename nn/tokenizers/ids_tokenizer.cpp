#include "nn/tokenizers/ids_tokenizer.h"

#include <algorithm>

#include "core/error.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"
#include "nn/files/strict_json.h"

namespace mixgrad {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

class IdsTokenizer final : public Tokenizer {
 public:
  explicit IdsTokenizer(std::int64_t vocab_size) : vocab_size_(vocab_size) {}

  std::int64_t vocab_size() const override { return vocab_size_; }
  bool is_text() const override { return false; }

  void encode_into(std::string_view text, const std::string& source, const TokenSink& sink) const override {
    for (std::size_t at = text.find_first_not_of(kBlanks); at < text.size(); at = text.find_first_not_of(kBlanks, at)) {
      const std::size_t end = std::min(text.find_first_of(kBlanks, at), text.size());
      const std::string_view word = text.substr(at, end - at);
      const auto id = parse_integer(word);
      if (!id || *id < 0 || *id >= vocab_size_) {
        raise<ValueError>(source, ": token ids must be numbers from 0 to ", vocab_size_ - 1, "; found ", quote(word),
                          " at byte ", at, "; write ids with spaces between them");
      }
      const std::array<std::int32_t, 1> one{static_cast<std::int32_t>(*id)};
      sink(one, end);
      at = end;
    }
  }

  std::string piece(std::int32_t id) const override {
    check_id(id);
    return std::to_string(id) + " ";
  }
  std::optional<std::int32_t> id_of(std::string_view piece) const override {
    if (!piece.ends_with(' ')) return std::nullopt;
    const auto id = parse_number<std::int32_t>(piece.substr(0, piece.size() - 1));
    if (!id || *id < 0 || *id >= vocab_size_ || piece != std::to_string(*id) + " ") return std::nullopt;
    return id;
  }

  std::string to_json() const override {
    return "{\"type\":\"ids\",\"vocab_size\":" + std::to_string(vocab_size_) + "}\n";
  }

 private:
  std::int64_t vocab_size_;
};

}  // namespace

TokenizerPtr ids_tokenizer(std::int64_t vocab_size) {
  MIXGRAD_ASSERT(vocab_size >= 1 && vocab_size <= INT32_MAX, "ids are of 31 bits");
  return std::make_shared<IdsTokenizer>(vocab_size);
}

TokenizerPtr load_ids_tokenizer(std::string_view json, const std::string& source) {
  const nlohmann::json root = parse_strict_json(json, source);
  const JsonPlace place{source, ""};
  json_exact_keys(root, place, {"type", "vocab_size"});
  return ids_tokenizer(json_integer(root.at("vocab_size"), place.key("vocab_size"), 1, INT32_MAX));
}

}  // namespace mixgrad
