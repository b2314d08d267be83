#include "nn/tokenizers/tokenizer.h"

#include <algorithm>

#include "core/error.h"
#include "core/system/interrupt.h"
#include "core/text/suggest.h"
#include "core/text/utf8.h"
#include "nn/files/strict_json.h"

namespace mixgrad {
namespace {

// "at byte 7 (line 2)"
std::string place_of(std::string_view text, std::size_t offset) {
  const auto lines = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n');
  return "at byte " + std::to_string(offset) + " (line " + std::to_string(lines + 1) + ")";
}

// Grows with the highest one that came: a table of all takes 136 KiB.
class CodePointSet {
 public:
  bool insert(char32_t code) {  // false when it is there
    if (code >= seen_.size()) seen_.resize(std::min<std::size_t>(std::size_t{2} * code, kCodePoints));
    if (seen_[code]) return false;
    seen_[code] = true;
    return true;
  }

 private:
  std::vector<bool> seen_ = std::vector<bool>(0x80);
};

[[noreturn]] void not_utf8(std::string_view text, std::size_t offset, const std::string& source) {
  raise<FormatError>(source, ": the char tokenizer needs UTF-8 text; an invalid sequence begins ",
                     place_of(text, offset), "; use --tokenizer byte, which takes any file");
}

}  // namespace

Tokenizer Tokenizer::bytes() {
  Tokenizer tokenizer;
  for (std::size_t i = 0; i < 256; ++i) tokenizer.byte_ids_[i] = static_cast<std::int32_t>(i);
  return tokenizer;
}

Tokenizer Tokenizer::from_codes(std::vector<char32_t> codes) {
  Tokenizer tokenizer;
  tokenizer.kind_ = Kind::char_;
  tokenizer.byte_ids_.fill(-1);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    if (codes[i] < 0x80) {
      tokenizer.byte_ids_[codes[i]] = id;
    } else {
      tokenizer.ids_.emplace(codes[i], id);
    }
  }
  tokenizer.single_byte_ = tokenizer.ids_.empty();
  tokenizer.codes_ = std::move(codes);
  return tokenizer;
}

Tokenizer Tokenizer::chars_of(std::string_view text, const std::string& source) {
  if (text.empty()) {
    raise<FormatError>(source, ": text is required to take the vocabulary from; it is empty; choose another file");
  }
  CodePointSet seen;
  std::vector<char32_t> codes;
  constexpr std::size_t kStretch = std::size_t{1} << 20U;
  for (std::size_t offset = 0, look = 0; offset < text.size();) {
    if (offset >= look) {
      check_interrupt();
      look = offset + kStretch;
    }
    const std::int32_t code = next_code_point(text, offset);
    if (code < 0) not_utf8(text, offset, source);
    if (seen.insert(static_cast<char32_t>(code))) codes.push_back(static_cast<char32_t>(code));
  }
  std::sort(codes.begin(), codes.end());
  return from_codes(std::move(codes));
}

std::int32_t Tokenizer::encode_next(std::string_view text, std::size_t& offset, const std::string& source) const {
  const auto byte = static_cast<unsigned char>(text[offset]);
  if (kind_ == Kind::byte || (byte < 0x80 && byte_ids_[byte] >= 0)) {
    ++offset;
    return byte_ids_[byte];
  }
  const std::size_t begin = offset;
  const std::int32_t code = next_code_point(text, offset);
  if (code < 0) not_utf8(text, begin, source);
  const auto found = ids_.find(static_cast<char32_t>(code));
  if (found == ids_.end()) {
    raise<ValueError>(source, ": every character must be one of the ", vocab_size(), " of the vocabulary; found ",
                      show_code_point(static_cast<char32_t>(code)), " ", place_of(text, begin),
                      "; leave it out, or train with --tokenizer byte");
  }
  return found->second;
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, const std::string& source) const {
  std::vector<std::int32_t> ids;
  ids.reserve(text.size());
  for (std::size_t offset = 0; offset < text.size();) ids.push_back(encode_next(text, offset, source));
  return ids;
}

void Tokenizer::check_id(std::int32_t id) const {
  if (id < 0 || id >= vocab_size()) {
    raise<ValueError>("tokenizer: a token id must be from 0 to ", vocab_size() - 1, "; got ", id,
                      "; check that model and tokenizer belong together");
  }
}

std::string Tokenizer::decode(std::int32_t id) const {
  check_id(id);
  if (kind_ == Kind::byte) return {static_cast<char>(static_cast<unsigned char>(id))};
  return utf8_bytes(codes_[static_cast<std::size_t>(id)]);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string text;
  for (const std::int32_t id : ids) text += decode(id);
  return text;
}

std::int64_t Tokenizer::byte_count(std::int32_t id) const {
  check_id(id);
  if (kind_ == Kind::byte) return 1;
  const char32_t code = codes_[static_cast<std::size_t>(id)];
  return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

std::string Tokenizer::to_json() const {
  nlohmann::ordered_json root;
  root["type"] = kind_name();
  if (kind_ == Kind::char_) {
    root["vocab"] = nlohmann::ordered_json::array();
    for (const char32_t code : codes_) root["vocab"].push_back(utf8_bytes(code));
  }
  return root.dump() + "\n";
}

Tokenizer Tokenizer::from_json(std::string_view text, const std::string& source) {
  const nlohmann::json root = parse_strict_json(text, source);
  const JsonPlace place{source, ""};
  const nlohmann::json& type = json_at(root, place, "type");
  if (type == "byte") {
    json_exact_keys(root, place, {"type"});
    return bytes();
  }
  if (type != "char") place.key("type").wrong("\"byte\" or \"char\"", type);
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
  return from_codes(std::move(codes));
}

}  // namespace mixgrad
