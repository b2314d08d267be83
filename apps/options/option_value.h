// Values of options from text: from the command line, a preset or a config file. `what` names the option in errors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "apps/options/option_set.h"

namespace mixgrad::app {

// ValueError "WHAT must be an integer from 1 to 9; got "x"" for everything that is not exactly such a value.
std::int64_t parse_integer(const std::string& what, std::string_view text, IntRange range);
std::uint64_t parse_unsigned(const std::string& what, std::string_view text);
double parse_real(const std::string& what, std::string_view text, RealRange range);
bool parse_switch(const std::string& what, std::string_view text);  // true or false
std::string parse_word(const std::string& what, const std::string& text, const std::vector<std::string>& allowed);

std::string number_text(double value);              // the shortest text that reads back as the same number
std::string quoted_toml(const std::string& value);  // as a string of a config file

}  // namespace mixgrad::app
