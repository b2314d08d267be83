// JSON lines and JSON arrays of objects with a text.
#include "tests/fuzz/readers/reader_fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  if (text.empty()) return;
  const ReaderOptions options{.field = (text[0] & 1) != 0 ? "t" : ""};
  fuzz_reader((text[0] & 2) != 0 ? "json" : "json_lines", text.substr(1), options);
}

}  // namespace mixgrad
