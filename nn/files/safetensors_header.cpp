#include "nn/files/safetensors_header.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/text/suggest.h"

namespace mixgrad {
namespace {

using nlohmann::json;

// Of other programs: the name and the bytes of an element.
constexpr std::pair<const char*, std::size_t> kFurtherTypes[] = {{kHalf, 2},  {"I64", 8},     {"U64", 8},    {"U32", 4},
                                                                 {"I16", 2},  {"U16", 2},     {"I8", 1},     {"U8", 1},
                                                                 {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};

// The events in order. Depth 1 holds tensor names, depth 2 the fields of one tensor or the metadata, depth 3
// the two arrays. Every wrong event throws at once, so nesting and array lengths are bounded while parsing.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  HeaderReader(const std::string& path, SafetensorsTypes types) : path_(path), types_(types) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool key(string_t& name) override {
    if (depth_ == 1) {
      if (!seen_.insert(name).second) fail("every tensor name must occur once", quote(name) + " occurs twice");
      name_ = name;
      in_metadata_ = name == kSafetensorsMetadata;
      has_dtype_ = has_shape_ = has_offsets_ = false;
      entry_ = {};
    } else if (in_metadata_) {
      if (!header_.metadata.emplace(name, "").second) {
        fail("every metadata key must occur once", quote(name) + " occurs twice");
      }
    } else {
      bool* const has = name == "dtype" ? &has_dtype_ : name == "shape" ? &has_shape_ : &has_offsets_;
      if (has == &has_offsets_ && name != "data_offsets") {
        fail(where() + " must have the fields dtype, shape and data_offsets only", "found " + quote(name));
      }
      if (*has) fail(where() + " must have every field once", quote(name) + " occurs twice");
      *has = true;
    }
    field_ = name;
    return true;
  }

  bool start_object(std::size_t) override {
    if (depth_ >= 2) unexpected("an object");
    ++depth_;
    return true;
  }

  bool end_object() override {
    if (depth_-- == 2 && !in_metadata_) finish_entry();
    return true;
  }

  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || field_ == "dtype") unexpected("an array");
    numbers_.clear();
    ++depth_;
    return true;
  }

  bool end_array() override {
    --depth_;
    if (field_ == "shape") {
      entry_.shape = Shape::from(numbers_.data(), static_cast<int>(numbers_.size()));
    } else if (numbers_.size() == 2) {
      entry_.begin = numbers_[0];
      entry_.end = numbers_[1];
    } else {
      fail(where() + ": data_offsets must be two numbers", "found " + std::to_string(numbers_.size()));
    }
    return true;
  }

  bool string(string_t& text) override {
    if (depth_ == 2 && in_metadata_) {
      header_.metadata[field_] = text;
      return true;
    }
    if (depth_ != 2 || field_ != "dtype") unexpected("the string " + quote(text));
    entry_.type = text;
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::i32}) {
      if (text == file_dtype(dtype)) {
        entry_.dtype = dtype;
        element_bytes_ = dtype_bytes(dtype);
        return true;
      }
    }
    if (types_ == SafetensorsTypes::any) {
      for (const auto& [name, bytes] : kFurtherTypes) {
        if (text != name) continue;
        entry_.dtype = DType::f32;
        element_bytes_ = bytes;
        return true;
      }
    }
    raise<FormatError>(path_, ": ", where(), " must be of type ",
                       types_ == SafetensorsTypes::any ? "F64, F32, BF16 or F16" : "F64, F32, BF16 or I32", "; found ",
                       quote(text), "; convert the tensor to one of these");
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (depth_ != 3) unexpected("the number " + std::to_string(value));
    if (value > static_cast<std::uint64_t>(INT64_MAX)) {
      fail(where() + ": " + field_ + " must hold numbers below 2^63", "found " + std::to_string(value));
    }
    if (numbers_.size() == static_cast<std::size_t>(Shape::kMaxRank)) {
      fail(where() + ": " + field_ + " must have at most " + std::to_string(Shape::kMaxRank) + " values", "found more");
    }
    numbers_.push_back(static_cast<std::int64_t>(value));
    return true;
  }

  bool number_integer(number_integer_t value) override { unexpected("the negative number " + std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { unexpected("the number " + quote(text)); }
  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("true or false"); }
  bool binary(binary_t&) override { unexpected("binary data"); }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail("the header must be valid JSON", "it goes wrong at its byte " + std::to_string(position));
  }

 private:
  std::string where() const { return "tensor " + quote(name_); }

  [[noreturn]] void fail(const std::string& required, const std::string& found) const {
    raise<FormatError>(path_, ": ", required, "; ", found, kSafetensorsAdvice);
  }

  [[noreturn]] void unexpected(const std::string& what) const {
    if (depth_ == 0) fail("the header must be a JSON object", "found " + what);
    if (depth_ == 1) fail(where() + " must be described by an object", "found " + what);
    if (in_metadata_) fail("the metadata must map strings to strings", "found " + what + " for " + quote(field_));
    if (field_ == "dtype") fail(where() + ": dtype must be a string", "found " + what);
    fail(where() + ": " + field_ + " must be an array of integers from 0 to 2^63-1", "found " + what);
  }

  void finish_entry() {
    const char* const missing = !has_dtype_ ? "dtype" : !has_shape_ ? "shape" : !has_offsets_ ? "data_offsets" : "";
    if (*missing != '\0') {
      fail(where() + " must have the fields dtype, shape and data_offsets", std::string(missing) + " is missing");
    }
    // The product without zero axes must fit as well: strides and row counts are computed from parts of the shape.
    auto bytes = static_cast<std::int64_t>(element_bytes_);
    bool empty = false;
    for (int axis = 0; axis < entry_.shape.rank(); ++axis) {
      const std::int64_t size = entry_.shape[axis];
      empty = empty || size == 0;
      if (__builtin_mul_overflow(bytes, std::max<std::int64_t>(size, 1), &bytes)) {
        fail(where() + " must have fewer than 2^63 bytes", "its shape is " + entry_.shape.str());
      }
    }
    if (empty) bytes = 0;
    if (entry_.end < entry_.begin || entry_.end - entry_.begin != bytes) {
      fail(where() + " of shape " + entry_.shape.str() + " and type " + entry_.type + " must occupy " +
               std::to_string(bytes) + " bytes",
           "its data_offsets are [" + std::to_string(entry_.begin) + "," + std::to_string(entry_.end) + "]");
    }
    header_.entries.emplace(name_, entry_);
    header_.names.push_back(name_);
  }

  const std::string& path_;
  SafetensorsTypes types_;
  SafetensorsHeader header_;
  int depth_ = 0;
  bool in_metadata_ = false;
  std::string name_;   // of the tensor being read
  std::string field_;  // the last key
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  SafetensorsFile::Entry entry_;
  std::size_t element_bytes_ = 0;
  std::vector<std::int64_t> numbers_;
  std::set<std::string> seen_;
};

}  // namespace

SafetensorsHeader read_safetensors_header(std::string_view header, const std::string& path, SafetensorsTypes types) {
  // The parser takes a zero byte for the end of the text, and would leave unread what follows it.
  if (const std::size_t zero = header.find('\0'); zero != std::string_view::npos) {
    raise<FormatError>(path, ": the header must be JSON, padded with spaces; found a zero byte at offset ", zero,
                       kSafetensorsAdvice);
  }
  HeaderReader reader(path, types);
  json::sax_parse(header.begin(), header.end(), &reader);
  return reader.take();
}

}  // namespace mixgrad
