#include "apps/output/error_line.h"

#include <cstdio>

#include "core/text/escape.h"

namespace mixgrad::app {

int fail(int code, const std::string& text) {
  std::fflush(stdout);
  const std::string line = escaped(text, ControlForm::hex, EscapeQuotes::no);
  std::fprintf(stderr, "mixgrad: %s\n", line.c_str());
  return code;
}

}  // namespace mixgrad::app
