#include "nn/files/strict_json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "core/error.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"
#include "core/text/utf8.h"

namespace mixgrad {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxDepth = 16;
constexpr std::size_t kMaxReason = 160;
constexpr std::string_view kBytesMark = "bytes:";

// Follows the parser through the text to see what the finished value no longer shows: a key that came twice.
class DuplicateWatch {
 public:
  explicit DuplicateWatch(const std::string& source) : source_(source) {}

  void see(json::parse_event_t event, const json& parsed) {
    using Event = json::parse_event_t;
    switch (event) {
      case Event::object_start:
      case Event::array_start:
        next_element();
        frames_.push_back({event == Event::array_start, 0, {}, {}});
        if (frames_.size() > kMaxDepth) {
          raise<FormatError>(source_, ": at most ", kMaxDepth, " levels of nesting are allowed; more were found; ",
                             "check that it is the right file");
        }
        break;
      case Event::object_end:
      case Event::array_end: frames_.pop_back(); break;
      case Event::key: {
        Frame& frame = frames_.back();
        frame.key = parsed.get<std::string>();
        if (!frame.seen.insert(frame.key).second) {
          raise<FormatError>(source_, ": every key must occur once; ", quote(path(), 200), " occurs twice; ",
                             "remove one of the two");
        }
        break;
      }
      case Event::value: next_element(); break;
    }
  }

 private:
  struct Frame {
    bool is_array;
    std::size_t count;  // elements seen so far
    std::string key;
    std::set<std::string> seen;
  };

  void next_element() {
    if (!frames_.empty() && frames_.back().is_array) ++frames_.back().count;
  }

  std::string path() const {
    JsonPlace place;
    for (const Frame& frame : frames_) {
      place = frame.is_array ? place.index(frame.count - 1) : place.key(frame.key);
    }
    return place.path;
  }

  const std::string& source_;
  std::vector<Frame> frames_;
};

}  // namespace

json parse_strict_json(std::string_view text, const std::string& source) {
  // The parser takes a zero byte for the end of the text, and would leave unread what follows it.
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos) {
    raise<FormatError>(source, ": valid JSON is required; found a zero byte at offset ", zero,
                       "; check that it is the right file");
  }
  DuplicateWatch watch(source);
  try {
    return json::parse(text.begin(), text.end(), [&](int, json::parse_event_t event, const json& parsed) {
      watch.see(event, parsed);
      return true;
    });
  } catch (const json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, ...": the number in brackets helps nobody.
    std::string what = error.what();
    const std::size_t bracket = what.find("] ");
    if (bracket != std::string::npos) what.erase(0, bracket + 2);
    if (what.size() > kMaxReason) what = what.substr(0, kMaxReason) + "...";  // it repeats a whole string of the file
    raise<FormatError>(source, ": valid JSON is required; found ", what, "; correct the file");
  }
}

std::string describe(const json& value) {
  if (value.is_array()) return "an array of " + count_text(static_cast<std::int64_t>(value.size()), "value");
  if (value.is_object()) return "an object";
  if (value.is_string()) return quote(value.get_ref<const std::string&>());
  return value.dump();
}

JsonPlace JsonPlace::key(std::string_view name) const {
  return {source, path + (path.empty() ? "" : ".") + std::string(name)};
}

JsonPlace JsonPlace::index(std::size_t i) const { return {source, path + "[" + std::to_string(i) + "]"}; }

void JsonPlace::wrong(std::string_view must, const json& found) const {
  raise<FormatError>(source, ": ", path.empty() ? "the content" : path, " must be ", must, "; found ", describe(found),
                     "; correct the file");
}

void JsonPlace::fail(std::string_view text) const { raise<FormatError>(source, ": ", path, text); }

std::int64_t json_integer(const json& value, const JsonPlace& place, std::int64_t low, std::int64_t high) {
  // A number above 2^63 is an unsigned one for the parser and must not wrap into a negative one.
  const bool fits = value.is_number_unsigned() ? value.get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX)
                                               : value.is_number_integer();
  if (!fits || value.get<std::int64_t>() < low || value.get<std::int64_t>() > high) {
    place.wrong("an integer from " + std::to_string(low) + " to " + std::to_string(high), value);
  }
  return value.get<std::int64_t>();
}

double json_positive(const json& value, const JsonPlace& place) {
  if (!value.is_number() || !(value.get<double>() > 0) || !std::isfinite(value.get<double>())) {
    place.wrong("a number above 0", value);
  }
  return value.get<double>();
}

bool json_bool(const json& value, const JsonPlace& place) {
  if (!value.is_boolean()) place.wrong("true or false", value);
  return value.get<bool>();
}

const std::string& json_string(const json& value, const JsonPlace& place) {
  if (!value.is_string()) place.wrong("a string", value);
  return value.get_ref<const std::string&>();
}

const json& json_array(const json& value, const JsonPlace& place) {
  if (!value.is_array()) place.wrong("an array", value);
  return value;
}

const json& json_object(const json& value, const JsonPlace& place) {
  if (!value.is_object()) place.wrong("an object", value);
  return value;
}

void json_exact_keys(const json& value, const JsonPlace& place, const std::vector<std::string>& keys,
                     const std::vector<std::string>& optional) {
  json_object(value, place);
  std::vector<std::string> known = keys;
  known.insert(known.end(), optional.begin(), optional.end());
  for (const auto& item : value.items()) {
    if (std::find(known.begin(), known.end(), item.key()) == known.end()) {
      raise<FormatError>(place.source, ": ", place.path.empty() ? "" : place.path + ": ", "unknown key ",
                         quote(item.key()), "; ", did_you_mean(item.key(), known), "the keys are ", join(keys),
                         optional.empty() ? "" : "; optional ones are " + join(optional));
    }
  }
  for (const std::string& key : keys) json_at(value, place, key);
}

const json& json_at(const json& object, const JsonPlace& place, const std::string& key) {
  const auto found = json_object(object, place).find(key);
  if (found == object.end()) {
    raise<FormatError>(place.source, ": the key ", place.key(key).path, " is required; it is missing; add it");
  }
  return *found;
}

std::string json_text(std::string_view bytes) {
  if (!bytes.starts_with(kBytesMark) && is_utf8(bytes)) return std::string(bytes);
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string text(kBytesMark);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7f && byte != '%') {
      text += c;
    } else {
      text += {'%', kDigits[byte >> 4U], kDigits[byte & 15U]};
    }
  }
  return text;
}

std::string bytes_of_json_text(std::string_view text) {
  if (!text.starts_with(kBytesMark)) return std::string(text);
  text.remove_prefix(kBytesMark.size());
  std::string bytes;
  for (std::size_t at = 0; at < text.size(); ++at) {
    unsigned value = 0;  // not signed: "%-5" is no code
    const std::string_view digits = text.substr(at + 1, 2);
    const bool encoded = text[at] == '%' && digits.size() == 2 &&
                         std::from_chars(digits.begin(), digits.end(), value, 16).ptr == digits.end();
    bytes += encoded ? static_cast<char>(value) : text[at];
    if (encoded) at += 2;
  }
  return bytes;
}

}  // namespace mixgrad
