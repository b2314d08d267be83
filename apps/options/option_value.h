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

// Several texts as one: a single one that does not begin with '[' is itself, any others are a JSON array of texts,
// whose bytes that are not UTF-8 stand as json_text (nn/files/strict_json.h) has them. No text at all is "".
std::string list_text(const std::vector<std::string>& texts);
std::vector<std::string> list_of_text(const std::string& what, const std::string& text);

std::string number_text(double value);              // the shortest text that reads back as the same number
std::string quoted_toml(const std::string& value);  // as a string of a config file

}  // namespace mixgrad::app
