// Counted things in sentences.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mixgrad {

// "1 thread", "2 threads"
inline std::string count_text(std::int64_t count, std::string_view noun) {
  return std::to_string(count) + " " + std::string(noun) + (count == 1 ? "" : "s");
}

}  // namespace mixgrad
