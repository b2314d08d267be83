// Raw tokens, and the .bin files of nanoGPT and llm.c.
#include "tests/fuzz/readers/reader_fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  constexpr const char* kNames[] = {"u8", "u16", "u32", "bin"};
  if (text.empty()) return;
  fuzz_reader(kNames[text[0] & 3], text.substr(1));
}

}  // namespace mixgrad
