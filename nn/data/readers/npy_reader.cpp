// NumPy's .npy of integers (numpy.org, "NEP 1 - A simple file format for NumPy arrays"): the magic, a version, the
// length of a header, and a header in the form of a Python dictionary, {'descr': '<u2', 'fortran_order': False,
// 'shape': (3, 4), }, then the integers. An array of one axis is a document, one of two a document in each row; with
// --codebooks it is read as codes [codebooks,time] or [batch,codebooks,time].
#include <cstdint>
#include <string>

#include "core/error.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"
#include "nn/data/readers/built_in_readers.h"
#include "nn/data/readers/byte_reader.h"
#include "nn/data/readers/integer_array.h"

namespace mixgrad {
namespace {

constexpr std::string_view kNpyMagic = "\x93NUMPY";

// The header's text, item by item. Blanks between items are skipped.
class NpyHeader {
 public:
  NpyHeader(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  IntegerArray read() {
    IntegerArray array;
    array.source = source_;
    bool has_type = false, has_order = false, has_shape = false;
    expect("{");
    while (!skip("}")) {
      const std::string_view name = quoted();
      expect(":");
      bool* const has = name == "descr" ? &has_type : name == "fortran_order" ? &has_order : &has_shape;
      if (*has || (has == &has_shape && name != "shape")) fail();
      *has = true;
      if (has == &has_type) read_type(quoted(), array);
      if (has == &has_order) read_order();
      if (has == &has_shape) read_shape(array);
      if (!skip(",")) {
        expect("}");
        break;
      }
    }
    blanks();
    if (!has_type || !has_order || !has_shape || at_ != text_.size()) fail();
    if (column_first_ && array.shape.size() > 1) {
      raise<FormatError>(source_, ": an array of several axes must be row-major; this one is in Fortran's order; ",
                         "save numpy.ascontiguousarray of it");
    }
    return array;
  }

 private:
  void blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool skip(std::string_view word) {
    blanks();
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  void expect(std::string_view word) {
    if (!skip(word)) fail();
  }
  [[noreturn]] void fail() const {
    raise<FormatError>(source_, ": the header must be {'descr': ..., 'fortran_order': ..., 'shape': (...)}; it is ",
                       quote(text_, 120), "; write the file again with numpy.save");
  }

  std::string_view quoted() {
    expect("'");
    const std::size_t end = text_.find('\'', at_);
    if (end == std::string_view::npos) fail();
    const std::string_view word = text_.substr(at_, end - at_);
    at_ = end + 1;
    return word;
  }

  void read_type(std::string_view type, IntegerArray& array) const {
    const bool ordered = type.size() == 3 && (type[0] == '<' || type[0] == '>' || type[0] == '|');
    const bool integer = ordered && (type[1] == 'i' || type[1] == 'u');
    const char width = integer ? type[2] : '0';
    if (width != '1' && width != '2' && width != '4' && width != '8') {
      raise<FormatError>(source_, ": integers of 1, 2, 4 or 8 bytes are required; the array's type is ", quote(type),
                         "; save the token ids as an integer type");
    }
    array.width = static_cast<std::size_t>(width - '0');
    array.is_signed = type[1] == 'i';
    array.big_endian = type[0] == '>';
  }

  void read_order() {
    column_first_ = skip("True");
    if (!column_first_) expect("False");
  }

  void read_shape(IntegerArray& array) {
    expect("(");
    while (!skip(")")) {
      blanks();
      const std::size_t end = std::min(text_.find_first_not_of("0123456789", at_), text_.size());
      const auto size = parse_integer(text_.substr(at_, end - at_));
      if (!size || array.shape.size() == 32) fail();
      array.shape.push_back(*size);
      at_ = end;
      if (!skip(",")) {
        expect(")");
        break;
      }
    }
  }

  std::string_view text_;
  const std::string& source_;
  std::size_t at_ = 0;
  bool column_first_ = false;
};

void read_npy(std::string_view content, const std::string& source, const ReaderOptions& options, DocumentSink& sink) {
  if (!content.starts_with(kNpyMagic)) {
    raise<FormatError>(source, ": a file of NumPy begins with \\x93NUMPY; this one does not; save it with numpy.save");
  }
  ByteReader bytes(content, source);
  bytes.take(kNpyMagic.size(), "the magic");
  const auto version = bytes.little<std::uint8_t>("the version");
  bytes.take(1, "the version");
  if (version < 1 || version > 3) {
    raise<FormatError>(source, ": version 1, 2 or 3 of the format is required; found ", static_cast<int>(version),
                       "; save it again with numpy.save");
  }
  const std::size_t length = version == 1 ? bytes.little<std::uint16_t>("the length of the header")
                                          : bytes.little<std::uint32_t>("the length of the header");
  IntegerArray array = NpyHeader(bytes.take(length, "the header"), source).read();
  if (!array.fits(bytes.left())) {
    raise<FormatError>(source, ": the bytes behind the header must be those of its shape and type; ", bytes.left(),
                       " follow; the file is truncated or damaged: fetch or write it again");
  }
  array.bytes = bytes.take(bytes.left(), "the integers");
  if (options.codebooks.empty()) return send_rows(array, sink);
  send_codes(array, options, sink);
}

}  // namespace

Reader built_in::npy_reader() {
  return {.name = "npy",
          .what = "a NumPy array of integers",
          .extensions = {".npy"},
          .yields = Reader::Yields::ids,
          .recognises = [](std::string_view content) { return content.starts_with(kNpyMagic); },
          .read = read_npy};
}

}  // namespace mixgrad
