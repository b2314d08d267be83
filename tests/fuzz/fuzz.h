// What every fuzz target shares: libFuzzer calls fuzz_one with a content; a mixgrad::Error is a refusal, as it should
// be. Everything else (a crash, a sanitizer's report, another exception, a broken assumption) is a finding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/error.h"

namespace mixgrad {
void fuzz_one(std::string_view text);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    mixgrad::fuzz_one({reinterpret_cast<const char*>(data), size});
  } catch (const mixgrad::Error&) {
  }
  return 0;
}
