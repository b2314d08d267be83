// Tunes in ABC notation, which together are the file; and whether a content looks like a text.
#include "core/text/byte_order_mark.h"
#include "tests/fuzz/readers/reader_fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  find_reader("none", text);
  const CheckingSink found = fuzz_reader("abc", text);
  MIXGRAD_ASSERT(found.text_bytes == without_byte_order_mark(text).size(), "no byte is lost");
}

}  // namespace mixgrad
