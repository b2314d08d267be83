// The line on stderr with which the program says what went wrong.
#pragma once

#include <string>

namespace mixgrad::app {

// "mixgrad: TEXT" in one line, whatever the name or content of a file brought into the text. What was printed on stdout
// before comes before it. Returns `code`.
int fail(int code, const std::string& text);

}  // namespace mixgrad::app
