// Config files: `--config run.toml`.
#pragma once

#include <string>
#include <vector>

namespace mixgrad::app {

// A line `key = value` of a config file. Text is without its quotes, everything else as it stands there.
struct ConfigEntry {
  enum class Type { text, number, boolean };
  std::string key;
  Type type = Type::text;
  std::string value;                // of an array the first
  std::vector<std::string> values;  // of an array, which has values of one type; else empty
  int line = 0;
};

// Reads the part of TOML that options need: comments, one section named as the verb (its keys may as well stand before
// it), and keys with a string, a number, true, false or an array of those in one line. ValueError with the line for
// anything else, also for a key that occurs twice; IoError when the file cannot be read.
std::vector<ConfigEntry> read_config(const std::string& path, const std::string& section);
// The same of a text; `path` names it in errors.
std::vector<ConfigEntry> parse_config(std::string text, const std::string& path, const std::string& section);

}  // namespace mixgrad::app
