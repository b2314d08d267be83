// JSON files read strictly: every key known, present, once, and of the right type.
//
// Errors are FormatError with the form
//   config.json: layers[2].heads must be an integer from 1 to 4096; found "four"; correct the file
// that is: the file, the path of the key, what is allowed, what was found.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace mixgrad {

// Parses one JSON value. `source` is the file's name for errors. FormatError: not JSON, more than 16 levels deep, or a
// key that occurs twice in an object.
nlohmann::json parse_strict_json(std::string_view text, const std::string& source);

// Bytes as a JSON string, which is UTF-8, while a path may be any bytes. Text that is UTF-8 is itself. Anything else,
// and text that begins with "bytes:", becomes "bytes:" and the bytes percent-encoded: "caf\xe9.txt" is
// "bytes:caf%E9.txt". bytes_of_json_text gives the bytes back.
std::string json_text(std::string_view bytes);
std::string bytes_of_json_text(std::string_view text);

// What a value is, for errors: `"four"`, `3.5`, `an array of 3 values`, `an object`.
std::string describe(const nlohmann::json& value);

// Where a value stands: the file and the path of keys within it.
struct JsonPlace {
  std::string source;
  std::string path;  // "" = the whole file

  JsonPlace key(std::string_view name) const;
  JsonPlace index(std::size_t i) const;
  // `must` completes the sentence "PATH must be ..."
  [[noreturn]] void wrong(std::string_view must, const nlohmann::json& found) const;
  [[noreturn]] void fail(std::string_view text) const;  // "SOURCE: PATH" + text
};

std::int64_t json_integer(const nlohmann::json& value, const JsonPlace& place, std::int64_t low, std::int64_t high);
double json_positive(const nlohmann::json& value, const JsonPlace& place);  // finite and > 0
bool json_bool(const nlohmann::json& value, const JsonPlace& place);
const std::string& json_string(const nlohmann::json& value, const JsonPlace& place);
const nlohmann::json& json_array(const nlohmann::json& value, const JsonPlace& place);
const nlohmann::json& json_object(const nlohmann::json& value, const JsonPlace& place);

// An object with exactly these keys, and any of the optional ones; an unknown one is answered with the nearest known.
void json_exact_keys(const nlohmann::json& value, const JsonPlace& place, const std::vector<std::string>& keys,
                     const std::vector<std::string>& optional = {});
// The value of a key that must be there.
const nlohmann::json& json_at(const nlohmann::json& object, const JsonPlace& place, const std::string& key);

}  // namespace mixgrad
