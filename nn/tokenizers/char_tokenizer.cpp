#include "nn/tokenizers/char_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "core/error.h"
#include "core/text/utf8.h"
#include "nn/files/strict_json.h"
#include "nn/tokenizers/built_in.h"
#include "nn/tokenizers/misfits.h"

namespace mixgrad {
namespace {

constexpr const char* kReader = "the char tokenizer";

// The table grows with the highest code point; for all of them it takes 136 KiB.
class CodePointSet {
 public:
  bool insert(char32_t code) {  // false when it is already there
    if (code >= seen_.size()) seen_.resize(std::min<std::size_t>(std::size_t{2} * code, kCodePoints));
    if (seen_[code]) return false;
    seen_[code] = true;
    return true;
  }

 private:
  std::vector<bool> seen_ = std::vector<bool>(0x80);
};

class CharTokenizer : public Tokenizer {
 public:
  explicit CharTokenizer(std::vector<char32_t> codes) : codes_(std::move(codes)) {
    ascii_ids_.fill(-1);
    for (std::size_t i = 0; i < codes_.size(); ++i) {
      const auto id = static_cast<std::int32_t>(i);
      if (codes_[i] < 0x80) {
        ascii_ids_[codes_[i]] = id;
      } else {
        ids_.emplace(codes_[i], id);
      }
    }
  }

  std::int64_t vocab_size() const override { return static_cast<std::int64_t>(codes_.size()); }
  const std::array<std::int32_t, 256>* byte_ids() const override { return ids_.empty() ? &ascii_ids_ : nullptr; }

  void encode_into(std::string_view text, const std::string& source, const TokenSink& sink) const override {
    std::array<std::int32_t, 4096> ids;
    for (std::size_t offset = 0; offset < text.size();) {
      std::size_t count = 0;
      while (count < ids.size() && offset < text.size()) ids[count++] = next_id(text, offset, source);
      sink(std::span(ids).first(count), offset);
    }
  }
  // Exact for valid text: every byte that does not continue a character begins one.
  std::size_t max_tokens(std::string_view text) const override {
    return static_cast<std::size_t>(std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
  }

  std::string piece(std::int32_t id) const override { return utf8_bytes(code_of(id)); }
  std::int64_t byte_count(std::int32_t id) const override {
    const char32_t code = code_of(id);
    return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  std::optional<std::int32_t> id_of(std::string_view piece) const override {
    std::size_t offset = 0;
    const std::int32_t code = piece.empty() ? -1 : next_code_point(piece, offset);
    if (code < 0 || offset != piece.size()) return std::nullopt;
    const std::int32_t id = find(static_cast<char32_t>(code));
    return id < 0 ? std::nullopt : std::optional(id);
  }

  bool expresses_any_text() const override { return false; }
  bool has_character(char32_t code) const override { return find(code) >= 0; }

  std::string to_json() const override {
    nlohmann::ordered_json root;
    root["type"] = "char";
    root["vocab"] = nlohmann::ordered_json::array();
    for (const char32_t code : codes_) root["vocab"].push_back(utf8_bytes(code));
    return root.dump() + "\n";
  }

 private:
  char32_t code_of(std::int32_t id) const {
    check_id(id);
    return codes_[static_cast<std::size_t>(id)];
  }

  std::int32_t find(char32_t code) const {  // -1: not in the vocabulary
    if (code < 0x80) return ascii_ids_[code];
    const auto found = ids_.find(code);
    return found == ids_.end() ? -1 : found->second;
  }

  // The id of the character at `offset`, which is advanced past it.
  std::int32_t next_id(std::string_view text, std::size_t& offset, const std::string& source) const {
    const auto byte = static_cast<unsigned char>(text[offset]);
    if (byte < 0x80 && ascii_ids_[byte] >= 0) {
      ++offset;
      return ascii_ids_[byte];
    }
    const std::size_t begin = offset;
    const std::int32_t code = next_code_point(text, offset);
    if (code < 0) raise_not_utf8(text, begin, source, kReader);
    const std::int32_t id = find(static_cast<char32_t>(code));
    if (id < 0) raise_misfits(text, *this, source);
    return id;
  }

  std::vector<char32_t> codes_;                     // code point of each id
  std::array<std::int32_t, 256> ascii_ids_{};       // id of each byte below 0x80, or -1
  std::unordered_map<char32_t, std::int32_t> ids_;  // of the code points from U+0080 on
};

TokenizerPtr make_char(const TokenizerInput& input) {
  const std::string_view text = input.text;
  if (text.empty()) {
    raise<FormatError>(input.source,
                       ": text is required to take the vocabulary from; it is empty; choose another file");
  }
  CodePointSet seen;
  std::vector<char32_t> codes;
  constexpr std::size_t kStretch = std::size_t{1} << 20U;
  for (std::size_t offset = 0; offset < text.size();) {
    const std::size_t stretch_end = std::min(offset + kStretch, text.size());
    while (offset < stretch_end) {
      const std::int32_t code = next_code_point(text, offset);
      if (code < 0) raise_not_utf8(text, offset, input.source, kReader);
      if (seen.insert(static_cast<char32_t>(code))) codes.push_back(static_cast<char32_t>(code));
    }
    input.read(offset);
  }
  std::sort(codes.begin(), codes.end());
  return std::make_shared<CharTokenizer>(std::move(codes));
}

TokenizerPtr load_char(std::string_view text, const std::string& source) {
  const nlohmann::json root = parse_strict_json(text, source);
  const JsonPlace place{source, ""};
  json_exact_keys(root, place, {"type", "vocab"});
  const JsonPlace vocab_place = place.key("vocab");
  const nlohmann::json& vocab = json_array(root["vocab"], vocab_place);
  if (vocab.empty()) vocab_place.wrong("an array of one character or more", vocab);
  std::vector<char32_t> codes;
  CodePointSet seen;
  for (std::size_t i = 0; i < vocab.size(); ++i) {
    if (!vocab[i].is_string()) vocab_place.index(i).wrong("a string", vocab[i]);
    const auto& word = vocab[i].get_ref<const std::string&>();
    std::size_t offset = 0;
    const std::int32_t code = word.empty() ? -1 : next_code_point(word, offset);
    if (code < 0 || offset != word.size()) vocab_place.index(i).wrong("a string of exactly one character", vocab[i]);
    if (!seen.insert(static_cast<char32_t>(code))) {
      vocab_place.index(i).wrong("a character that has not occurred", vocab[i]);
    }
    codes.push_back(static_cast<char32_t>(code));
  }
  return std::make_shared<CharTokenizer>(std::move(codes));
}

}  // namespace

TokenizerPtr char_tokenizer(std::string_view text, const std::string& source) {
  return make_char({.text = text, .source = source});
}

TokenizerType built_in::char_tokenizer_type() {
  return {.name = "char", .summary = "one token per character of the file", .make = make_char, .load = load_char};
}

}  // namespace mixgrad
