// Integers and codes in safetensors.
#include "tests/fuzz/readers/reader_fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) { fuzz_reader("safetensors", text, {.codebook_size = 300}); }

}  // namespace mixgrad
