// WAV files to mu-law tokens.
#include "tests/fuzz/readers/reader_fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) { fuzz_reader("wav", text); }

}  // namespace mixgrad
