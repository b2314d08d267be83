// Amounts of memory for people.
#pragma once

#include <array>
#include <cstddef>
#include <cstdio>
#include <string>

namespace mixgrad {

// "812 bytes", "1.5 KiB", "39.2 MiB"
inline std::string bytes_text(std::size_t bytes) {
  if (bytes < 1024) return bytes == 1 ? "1 byte" : std::to_string(bytes) + " bytes";
  constexpr std::array kUnits{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f %s", value, kUnits[unit]);
  return text.data();
}

}  // namespace mixgrad
