#include "apps/output/error_line.h"

#include <cstdio>

#include "core/text/escape.h"

namespace mixgrad::app {

int fail(int code, const std::string& text) {
  std::fflush(stdout);
  say(text);
  return code;
}

void say(const std::string& text) {
  std::fprintf(stderr, "mixgrad: %s\n", escaped(text, ControlForm::hex, EscapeQuotes::no).c_str());
}

}  // namespace mixgrad::app
