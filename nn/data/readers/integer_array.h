// An array of integers in a file, as .npy and safetensors have it, and how it becomes documents of token ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nn/data/readers/reader.h"

namespace mixgrad {

struct IntegerArray {
  std::string source;  // the file, and the name of the array where it has several, for errors
  std::string_view bytes;
  std::size_t width = 0;  // of an integer: 1, 2, 4 or 8 bytes
  bool is_signed = false;
  bool big_endian = false;
  std::vector<std::int64_t> shape;  // row-major; the product of the sizes and the width is bytes.size()

  // Checks the shape against a number of bytes without overflow.
  bool fits(std::size_t byte_count) const;
  std::int64_t value(std::int64_t index) const;  // of an unsigned one above 2^63 - 1: that
};

// One axis: a document. Two axes: each row is one. FormatError: more axes, nothing in it, or an integer that is no id.
void send_rows(const IntegerArray& array, DocumentSink& sink);

// Codes [K,T] or [B,K,T] of K codebooks, such as EnCodec's: a document for each b, in which the codes of all chosen
// codebooks are interleaved by time, c(0,0) c(1,0) ... c(0,1) c(1,1) ..., and the n-th chosen one has the ids from
// n * codebook_size on. FormatError: another shape, or a code outside its codebook; ValueError: a codebook that is not
// there.
void send_codes(const IntegerArray& array, const ReaderOptions& options, DocumentSink& sink);

}  // namespace mixgrad
