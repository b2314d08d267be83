// One JSON object on one line, as --json prints it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace mixgrad::app {

// Without line feeds. A byte that is no UTF-8 (a file's name, a token that is a part of a character) becomes U+FFFD.
std::string json_line(const nlohmann::ordered_json& value);

void print_json(const nlohmann::ordered_json& object);  // and a line feed, on stdout

}  // namespace mixgrad::app
