// Control characters in one line of text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mixgrad {

enum class ControlForm : std::uint8_t { hex, unicode };  // \x1b, or \u001B as in TOML and JSON
enum class EscapeQuotes : std::uint8_t { no, yes };      // whether " and \ get a backslash

// `text` with a line feed as \n and every other control character in the given form. Bytes above 0x7f stay.
std::string escaped(std::string_view text, ControlForm form, EscapeQuotes quotes);

}  // namespace mixgrad
