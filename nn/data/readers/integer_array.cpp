#include "nn/data/readers/integer_array.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "nn/data/readers/byte_reader.h"

namespace mixgrad {
namespace {

// Hands ids on many at a time.
class IdBuffer {
 public:
  explicit IdBuffer(DocumentSink& sink) : sink_(sink) {}

  void add(std::int32_t id) {
    ids_[count_++] = id;
    if (count_ == ids_.size()) flush();
  }
  void end_document() {
    flush();
    sink_.end_document();
  }

 private:
  void flush() {
    if (count_ > 0) sink_.ids(std::span(ids_).first(count_));
    count_ = 0;
  }

  DocumentSink& sink_;
  std::array<std::int32_t, 16384> ids_{};
  std::size_t count_ = 0;
};

std::string shape_text(const IntegerArray& array) {
  std::string text = "[";
  for (const std::int64_t size : array.shape) text += (text.size() > 1 ? "," : "") + std::to_string(size);
  return text + "]";
}

void require_content(const IntegerArray& array) {
  if (array.bytes.empty()) {
    raise<FormatError>(array.source, ": at least one integer is required; its shape is ", shape_text(array),
                       "; give a file that is not empty");
  }
}

}  // namespace

bool IntegerArray::fits(std::size_t byte_count) const {
  std::uint64_t bytes_needed = width;
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return byte_count == 0;
  for (const std::int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(bytes_needed, static_cast<std::uint64_t>(size), &bytes_needed)) return false;
  }
  return bytes_needed == byte_count;
}

std::int64_t IntegerArray::value(std::int64_t index) const {
  const std::string_view at = bytes.substr(static_cast<std::size_t>(index) * width, width);
  switch (width) {
    case 1: return is_signed ? ByteReader::number<std::int8_t>(at, big_endian) : static_cast<unsigned char>(at[0]);
    case 2:
      return is_signed ? ByteReader::number<std::int16_t>(at, big_endian)
                       : static_cast<std::int64_t>(ByteReader::number<std::uint16_t>(at, big_endian));
    case 4:
      return is_signed ? ByteReader::number<std::int32_t>(at, big_endian)
                       : static_cast<std::int64_t>(ByteReader::number<std::uint32_t>(at, big_endian));
    default: break;
  }
  if (is_signed) return ByteReader::number<std::int64_t>(at, big_endian);
  return static_cast<std::int64_t>(
      std::min<std::uint64_t>(ByteReader::number<std::uint64_t>(at, big_endian), INT64_MAX));
}

void send_rows(const IntegerArray& array, DocumentSink& sink) {
  require_content(array);
  if (array.shape.size() != 1 && array.shape.size() != 2) {
    raise<FormatError>(array.source, ": one axis (ids) or two (a document in each row) are required; its shape is ",
                       shape_text(array), "; for codes of several codebooks give --codebooks");
  }
  const std::int64_t length = array.shape.back();
  const std::int64_t rows = array.shape.size() == 1 ? 1 : array.shape[0];
  IdBuffer out(sink);
  for (std::int64_t i = 0; i < rows * length; ++i) {
    const std::int64_t id = array.value(i);
    if (id < 0 || id > INT32_MAX) {
      raise<FormatError>(array.source, ": every integer must be a token id from 0 to 2^31-1; number ", i, " is ", id,
                         "; give a file of token ids");
    }
    out.add(static_cast<std::int32_t>(id));
    if ((i + 1) % length == 0) out.end_document();
  }
}

void send_codes(const IntegerArray& array, const ReaderOptions& options, DocumentSink& sink) {
  require_content(array);
  const std::size_t axes = array.shape.size();
  if (axes != 2 && axes != 3) {
    raise<FormatError>(array.source,
                       ": codes must have the shape [codebooks,time] or [batch,codebooks,time]; its shape is ",
                       shape_text(array), "; leave --codebooks out for a plain sequence of ids");
  }
  const std::int64_t batch = axes == 3 ? array.shape[0] : 1;
  const std::int64_t books = array.shape[axes - 2];
  const std::int64_t time = array.shape[axes - 1];
  std::vector<std::int64_t> chosen = options.codebooks;
  if (chosen.empty()) {
    chosen.resize(static_cast<std::size_t>(books));
    std::iota(chosen.begin(), chosen.end(), 0);
  }
  for (const std::int64_t book : chosen) {
    if (book >= 0 && book < books) continue;
    raise<ValueError>(array.source, ": --codebooks must name codebooks from 0 to ", books - 1, "; got ", book,
                      "; the shape is ", shape_text(array));
  }
  if (std::cmp_greater(chosen.size(), INT32_MAX / options.codebook_size)) {
    raise<FormatError>(array.source, ": the ids of all codebooks must be below 2^31; its shape is ", shape_text(array),
                       "; choose fewer with --codebooks");
  }
  IdBuffer out(sink);
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t t = 0; t < time; ++t) {
      for (std::size_t k = 0; k < chosen.size(); ++k) {
        const std::int64_t code = array.value((b * books + chosen[k]) * time + t);
        if (code < 0 || code >= options.codebook_size) {
          raise<FormatError>(array.source, ": every code must be below the --codebook-size of ", options.codebook_size,
                             "; codebook ", chosen[k], " has ", code, " at time ", t,
                             "; give the size of the codebooks, or a file of codes");
        }
        out.add(static_cast<std::int32_t>(static_cast<std::int64_t>(k) * options.codebook_size + code));
      }
    }
    out.end_document();
  }
}

}  // namespace mixgrad
