#include "core/text/escape.h"

#include <array>
#include <cstdio>

namespace mixgrad {

std::string escaped(std::string_view text, ControlForm form, EscapeQuotes quotes) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (quotes == EscapeQuotes::yes && (c == '"' || c == '\\')) {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), form == ControlForm::hex ? "\\x%02x" : "\\u%04X",
                    static_cast<unsigned>(byte));
      result += escape.data();
    } else {
      result += c;
    }
  }
  return result;
}

}  // namespace mixgrad
