// JSON: objects whose field --field is a text, each a document. A .jsonl file has one object a line (empty lines are
// skipped), a .json file one array of objects, or one object. Read event by event, so nothing is held but one document.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/text/byte_order_mark.h"
#include "core/text/suggest.h"
#include "nn/data/readers/built_in_readers.h"

namespace mixgrad {
namespace {

using nlohmann::json;

constexpr std::size_t kNamesInErrors = 20;
constexpr int kMostLevels = 100;

// The events of one value: an object, or (where `array` is set) an array of objects.
class FieldReader : public nlohmann::json_sax<json> {
 public:
  FieldReader(std::string source, const std::string& field, bool array, DocumentSink& sink)
      : source_(std::move(source)), field_(field), array_(array), sink_(sink) {}

  void set_line(std::int64_t line) { line_ = line; }

  bool start_object(std::size_t) override {
    value("an object");
    deeper();
    if (depth_ == record_depth()) {
      ++records_;
      names_.clear();
      found_ = false;
    }
    wanted_ = false;
    return true;
  }

  bool key(string_t& name) override {
    wanted_ = depth_ == record_depth() && name == field_;
    if (wanted_ && found_) fail("the field " + quote(field_) + " must occur once", "it occurs twice");
    if (depth_ == record_depth() && names_.size() < kNamesInErrors) names_.push_back(name);
    return true;
  }

  bool end_object() override {
    if (depth_-- != record_depth()) return true;
    if (field_.empty()) {
      raise<ValueError>(where(), ": the field with the text is required; the object has the fields ", join(names_),
                        "; choose one with --field NAME");
    }
    if (!found_) {
      fail("the field " + quote(field_) + " is required",
           names_.empty() ? "the object is empty" : "the object has the fields " + join(names_),
           "choose another with --field");
    }
    sink_.end_document();
    return true;
  }

  bool start_array(std::size_t) override {
    value("an array");
    if (depth_ == 0) in_array_ = true;
    deeper();
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }

  bool string(string_t& text) override {
    if (wanted_) {
      wanted_ = false;
      found_ = true;
      if (!field_.empty()) sink_.text(text);
      return true;
    }
    value("a text");
    return true;
  }

  bool number_unsigned(number_unsigned_t) override { return value("a number"); }
  bool number_integer(number_integer_t) override { return value("a number"); }
  bool number_float(number_float_t, const string_t&) override { return value("a number"); }
  bool null() override { return value("null"); }
  bool boolean(bool) override { return value("true or false"); }
  bool binary(binary_t&) override { return value("binary data"); }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail("valid JSON in UTF-8 is required",
         "it goes wrong at byte " + std::to_string(position) + (line_ > 0 ? " of the line" : ""));
  }

 private:
  int record_depth() const { return in_array_ ? 2 : 1; }

  void deeper() {
    if (++depth_ > kMostLevels) fail("at most 100 levels are read", "there are more");
  }

  std::string where() const {
    if (line_ > 0) return source_ + " line " + std::to_string(line_);
    return in_array_ ? source_ + " record " + std::to_string(records_) : source_;
  }
  [[noreturn]] void fail(const std::string& required, const std::string& found,
                         const std::string& advice = "correct the file") const {
    raise<FormatError>(where(), ": ", required, "; ", found, "; ", advice);
  }

  // Any value that is not the wanted text: allowed inside a record only, or as a container that leads to records.
  bool value(const std::string& what) {
    if (wanted_) fail("the field " + quote(field_) + " must be a text", "it is " + what, "choose another with --field");
    const bool object = what == "an object";
    if (depth_ == 0 && !object && !(array_ && what == "an array")) {
      fail(array_ ? "an array of objects, or one object, is required" : "an object is required", "found " + what);
    }
    if (depth_ == 1 && in_array_ && !object) fail("the array must hold objects", "found " + what);
    return true;
  }

  std::string source_;
  const std::string& field_;
  bool array_;
  DocumentSink& sink_;
  std::int64_t line_ = 0, records_ = 0;
  int depth_ = 0;
  bool in_array_ = false, wanted_ = false, found_ = false;
  std::vector<std::string> names_;  // of the fields of the record
};

// The parser takes a zero byte for the end of the text, and would leave unread what follows it.
void require_no_zero_byte(std::string_view text, const std::string& where) {
  const std::size_t at = text.find('\0');
  if (at == std::string_view::npos) return;
  raise<FormatError>(where, ": JSON has no zero bytes; there is one at byte ", at, "; check that it is the right file");
}

void read_json(std::string_view content, const std::string& source, const ReaderOptions& options, DocumentSink& sink) {
  content = without_byte_order_mark(content);
  require_no_zero_byte(content, source);
  FieldReader reader(source, options.field, true, sink);
  json::sax_parse(content.begin(), content.end(), &reader);
}

void read_json_lines(std::string_view content, const std::string& source, const ReaderOptions& options,
                     DocumentSink& sink) {
  content = without_byte_order_mark(content);
  FieldReader reader(source, options.field, false, sink);
  std::int64_t number = 1;
  for (std::size_t begin = 0; begin < content.size(); ++number) {
    const std::size_t end = std::min(content.find('\n', begin), content.size());
    const std::string_view line = content.substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    require_no_zero_byte(line, source + " line " + std::to_string(number));
    reader.set_line(number);
    json::sax_parse(line.begin(), line.end(), &reader);
  }
}

}  // namespace

Reader built_in::json_lines_reader() {
  return {.name = "json_lines",
          .what = "JSON lines",
          .extensions = {".jsonl", ".ndjson"},
          .recognises = nullptr,
          .read = read_json_lines};
}
Reader built_in::json_reader() {
  return {.name = "json", .what = "JSON", .extensions = {".json"}, .recognises = nullptr, .read = read_json};
}

}  // namespace mixgrad
