// Pieces of the pattern languages of --mixer and --shortcut: splitting at a separator, numbers, each with its errors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mixgrad {

std::string_view trimmed(std::string_view text);
std::vector<std::string_view> split(std::string_view text, char separator);  // the parts trimmed

// ValueError "mixer: WHAT must be an integer from 1 to HIGH; got "x"; correct the pattern".
std::int64_t parse_count(std::string_view text, const std::string& what, std::int64_t high);

// The same from LOW on.
std::int64_t parse_integer(std::string_view text, const std::string& what, std::int64_t low, std::int64_t high);

// ValueError "mixer: WHAT must be a number from 0 to 1; got "x"; correct the pattern".
double parse_share(std::string_view text, const std::string& what);

}  // namespace mixgrad
