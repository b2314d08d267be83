// The lines on stderr with which the program says what went wrong, or what a user should know.
#pragma once

#include <string>

namespace mixgrad::app {

// "mixgrad: TEXT" in one line, whatever the name or content of a file brought into the text. What was printed on stdout
// before comes before it. Returns `code`.
int fail(int code, const std::string& text);

// The same line for what a user should know although nothing is wrong.
void say(const std::string& text);

}  // namespace mixgrad::app
