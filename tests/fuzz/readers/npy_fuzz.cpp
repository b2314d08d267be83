// NumPy arrays of integers, as rows and as codes.
#include "tests/fuzz/readers/reader_fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  if (text.empty()) return;
  ReaderOptions options{.codebook_size = 300};
  if ((text[0] & 1) != 0) options.codebooks = {0, 1};
  fuzz_reader("npy", text.substr(1), options);
}

}  // namespace mixgrad
