#include "apps/options/config_file.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/text/suggest.h"
#include "core/text/utf8.h"
#include "nn/files/file.h"

namespace mixgrad::app {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 20U;
constexpr const char* kBlank = " \t\r";

class ConfigReader {
 public:
  ConfigReader(std::string text, const std::string& path, const std::string& section)
      : path_(path), section_(section), text_(std::move(text)) {}

  std::vector<ConfigEntry> read() {
    for (std::size_t at = 0; at < text_.size();) {
      const std::size_t end = std::min(text_.find('\n', at), text_.size());
      rest_ = std::string_view(text_).substr(at, end - at);
      ++line_;
      read_line();
      at = end + 1;
    }
    return std::move(entries_);
  }

 private:
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    raise<ValueError>("--config ", path_, " line ", line_, ": ", parts...);
  }

  void skip_blank() { rest_.remove_prefix(std::min(rest_.find_first_not_of(kBlank), rest_.size())); }

  void read_line() {
    skip_blank();
    if (rest_.empty() || rest_[0] == '#') return;
    if (rest_[0] == '[') return read_section();
    ConfigEntry entry;
    entry.line = line_;
    entry.key = std::string(rest_.substr(0, rest_.find_first_of(" \t\r=#")));
    rest_.remove_prefix(entry.key.size());
    skip_blank();
    if (entry.key.empty() || rest_.empty() || rest_[0] != '=') {
      fail("a line `key = value` is required; got ", quote(line_text()), "; write for example batch = 12");
    }
    rest_.remove_prefix(1);
    skip_blank();
    if (!rest_.empty() && rest_[0] == '[') {
      read_array(entry);
    } else {
      read_value(entry);
    }
    skip_blank();
    if (!rest_.empty() && rest_[0] != '#') {
      fail("nothing but a comment may follow the value of ", quote(entry.key), "; got ", quote(rest_));
    }
    const auto [first, once] = lines_.emplace(entry.key, line_);
    if (!once) fail("every key must occur once; ", quote(entry.key), " stands in line ", first->second, " already");
    entries_.push_back(std::move(entry));
  }

  void read_section() {
    const std::size_t end = rest_.find(']');
    const std::string_view name = rest_.substr(1, end == std::string_view::npos ? end : end - 1);
    if (name != section_ || end == std::string_view::npos) {
      fail("only the section [", section_, "] is read here; got ", quote(line_text()),
           "; keep the options of another verb in a file of their own");
    }
    rest_.remove_prefix(end + 1);
    skip_blank();
    if (!rest_.empty() && rest_[0] != '#') fail("nothing may follow a section's name; got ", quote(rest_));
  }

  void read_array(ConfigEntry& entry) {
    rest_.remove_prefix(1);
    for (skip_blank(); rest_.empty() || rest_[0] != ']'; skip_blank()) {
      ConfigEntry element = entry;
      element.value.clear();
      read_value(element);
      if (!entry.values.empty() && element.type != entry.type) {
        fail("the values of the array ", quote(entry.key), " must be of one type; got ", quote(line_text()));
      }
      entry.type = element.type;
      entry.values.push_back(element.value);
      skip_blank();
      if (!rest_.empty() && rest_[0] == ',') {
        rest_.remove_prefix(1);
      } else if (rest_.empty() || rest_[0] != ']') {
        fail("an array must have commas between its values and end with ] in its line; got ", quote(line_text()));
      }
    }
    if (entry.values.empty()) fail("the array ", quote(entry.key), " must have at least one value");
    rest_.remove_prefix(1);
    entry.value = entry.values.front();
  }

  void read_value(ConfigEntry& entry) {
    if (!rest_.empty() && (rest_[0] == '"' || rest_[0] == '\'')) {
      entry.type = ConfigEntry::Type::text;
      entry.value = rest_[0] == '"' ? basic_string() : literal_string();
      return;
    }
    const std::string_view word = rest_.substr(0, rest_.find_first_of(" \t\r#,]"));
    const bool boolean = word == "true" || word == "false";
    const std::string_view digits = word.substr(std::min(word.find_first_not_of("+-"), word.size()));
    const bool number = !digits.empty() && (std::string_view("0123456789.").find(digits[0]) != std::string_view::npos ||
                                            digits == "inf" || digits == "nan");
    if (!boolean && !number) {
      fail("the value of ", quote(entry.key), " must be a number, true, false or a text in quotes; got ", quote(rest_));
    }
    entry.type = boolean ? ConfigEntry::Type::boolean : ConfigEntry::Type::number;
    for (const char c : word) {
      if (c != '_') entry.value += c;  // TOML allows 1_000
    }
    rest_.remove_prefix(word.size());
  }

  std::string literal_string() {
    const std::size_t end = rest_.find('\'', 1);
    if (end == std::string_view::npos) fail("a text in quotes must end in its line; got ", quote(line_text()));
    const std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }

  std::string basic_string() {
    std::string text;
    for (std::size_t i = 1; i < rest_.size(); ++i) {
      const char c = rest_[i];
      if (c == '"') {
        rest_.remove_prefix(i + 1);
        return text;
      }
      if (c != '\\') {
        text += c;
        continue;
      }
      const char escaped = ++i < rest_.size() ? rest_[i] : '\0';
      const std::size_t plain = std::string_view("\"\\ntrbf").find(escaped);
      if (escaped == 'u' || escaped == 'U') {
        text += code_point(i, escaped == 'u' ? 4 : 8);
      } else if (plain != std::string_view::npos && escaped != '\0') {
        text += "\"\\\n\t\r\b\f"[plain];
      } else {
        fail("a backslash in quotes must be followed by one of \" \\ n t r b f u U; got ", quote(line_text()),
             "; write \\\\ for a backslash, or use single quotes");
      }
    }
    fail("a text in quotes must end in its line; got ", quote(line_text()));
  }

  // The digits of \uXXXX, whose u is rest_[i]; i moves to the last one.
  std::string code_point(std::size_t& i, std::size_t count) {
    const std::string_view digits = rest_.substr(i + 1, count);
    std::uint32_t code = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    const bool complete = error == std::errc() && end == digits.data() + count && digits.size() == count;
    if (!complete || code >= kCodePoints || (code >= 0xd800 && code < 0xe000)) {
      fail("\\u needs the ", count, " hexadecimal digits of a character; got ", quote(digits));
    }
    i += count;
    return utf8_bytes(code);
  }

  std::string line_text() const {
    const char* const end = rest_.data() + rest_.size();
    const char* begin = end;
    while (begin != text_.data() && begin[-1] != '\n') --begin;
    return {begin, end};
  }

  std::string path_, section_;
  std::string text_;
  std::string_view rest_;  // of the current line
  int line_ = 0;
  std::vector<ConfigEntry> entries_;
  std::map<std::string, int> lines_;  // of the keys
};

}  // namespace

std::vector<ConfigEntry> read_config(const std::string& path, const std::string& section) {
  return parse_config(read_text(path, kMaxBytes, Pipes::wait), path, section);
}

std::vector<ConfigEntry> parse_config(std::string text, const std::string& path, const std::string& section) {
  return ConfigReader(std::move(text), path, section).read();
}

}  // namespace mixgrad::app
