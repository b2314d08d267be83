// MIDI files to the tokens of a performance.
#include "tests/fuzz/readers/reader_fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) { fuzz_reader("midi", text); }

}  // namespace mixgrad
