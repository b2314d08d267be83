// One JSON object on one line, as --json prints it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace mixgrad::app {

// Without line feeds. Bytes that are not UTF-8 (in the name of a file, or of a token that is a part of a character)
// become U+FFFD.
std::string json_line(const nlohmann::ordered_json& value);

void print_json(const nlohmann::ordered_json& object);  // the line and a line feed, on stdout

}  // namespace mixgrad::app
