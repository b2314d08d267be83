#include "nn/tokenizers/hugging_face/byte_characters.h"

#include "core/text/utf8.h"

namespace mixgrad {
namespace {

std::array<char32_t, 256> characters() {
  std::array<char32_t, 256> codes{};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool shown = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    codes[byte] = shown ? byte : next++;
  }
  return codes;
}

}  // namespace

const std::array<std::string, 256>& byte_characters() {
  static const std::array<std::string, 256> texts = [] {
    std::array<std::string, 256> made;
    const std::array<char32_t, 256> codes = characters();
    for (std::size_t byte = 0; byte < 256; ++byte) made[byte] = utf8_bytes(codes[byte]);
    return made;
  }();
  return texts;
}

std::optional<std::string> bytes_of_characters(std::string_view token) {
  constexpr std::size_t kCodes = 0x100 + 68;  // 68 bytes cannot be seen
  static const std::array<int, kCodes> bytes = [] {
    std::array<int, kCodes> made{};
    made.fill(-1);
    const std::array<char32_t, 256> codes = characters();
    for (std::size_t byte = 0; byte < 256; ++byte) made[codes[byte]] = static_cast<int>(byte);
    return made;
  }();
  std::string result;
  for (std::size_t at = 0; at < token.size();) {
    const std::int32_t code = next_code_point(token, at);
    if (code < 0 || static_cast<std::size_t>(code) >= kCodes || bytes[static_cast<std::size_t>(code)] < 0) {
      return std::nullopt;
    }
    result += static_cast<char>(bytes[static_cast<std::size_t>(code)]);
  }
  return result;
}

}  // namespace mixgrad
