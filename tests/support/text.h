// For tests of texts: what is put together, and what is found in one.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace mixgrad::test {

// The parts one after the other.
inline std::string joined(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text += part;
  return text;
}

inline bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace mixgrad::test
