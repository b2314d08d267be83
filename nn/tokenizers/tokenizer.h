// Text to token ids and back.
//   byte: 256 ids, id = the byte's value; takes any file.
//   char: one id per Unicode code point of the training text, in ascending order; UTF-8 only.
// Stored as tokenizer.json: {"type":"byte"} or {"type":"char","vocab":["\n"," ","a",...]}, the id being the index.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace mixgrad {

class Tokenizer {
 public:
  enum class Kind : std::uint8_t { byte, char_ };

  static Tokenizer bytes();
  // The characters of `text`; `source` names it in errors. FormatError: empty, or not UTF-8 (with the byte offset).
  static Tokenizer chars_of(std::string_view text, const std::string& source);

  Kind kind() const { return kind_; }
  const char* kind_name() const { return kind_ == Kind::byte ? "byte" : "char"; }
  std::int64_t vocab_size() const { return kind_ == Kind::byte ? 256 : static_cast<std::int64_t>(codes_.size()); }

  // ValueError: a character outside the vocabulary; FormatError: char and not UTF-8. Both name `source` and position.
  std::vector<std::int32_t> encode(std::string_view text, const std::string& source = "text") const;
  // One token from text[offset], which is advanced. The same errors. offset < text.size().
  std::int32_t encode_next(std::string_view text, std::size_t& offset, const std::string& source) const;

  // UTF-8 for char, the raw byte for byte (part of a character when that has several). ValueError: no such id.
  std::string decode(std::int32_t id) const;
  std::string decode(std::span<const std::int32_t> ids) const;
  std::int64_t byte_count(std::int32_t id) const;  // bytes that the token stands for; ValueError: no such id

  // Every token is one byte, so ids can be looked up in byte_ids() without decoding.
  bool is_single_byte() const { return single_byte_; }
  const std::array<std::int32_t, 256>& byte_ids() const { return byte_ids_; }  // id of a one-byte token or -1

  std::string to_json() const;
  static Tokenizer from_json(std::string_view text, const std::string& source);  // FormatError, strict
  friend bool operator==(const Tokenizer& a, const Tokenizer& b) { return a.kind_ == b.kind_ && a.codes_ == b.codes_; }

 private:
  Tokenizer() = default;
  static Tokenizer from_codes(std::vector<char32_t> codes);
  void check_id(std::int32_t id) const;

  Kind kind_ = Kind::byte;
  bool single_byte_ = true;
  std::array<std::int32_t, 256> byte_ids_{};
  std::vector<char32_t> codes_;                     // char: code point of each id
  std::unordered_map<char32_t, std::int32_t> ids_;  // char: those above U+007F
};

}  // namespace mixgrad
