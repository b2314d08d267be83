// The safetensors format (github.com/huggingface/safetensors): 8 bytes of little-endian header length, a JSON header
// {"name": {"dtype": "F32", "shape": [2,3], "data_offsets": [0,24]}, ..., "__metadata__": {"key": "text"}}, then the
// bytes of all tensors, row-major, without holes.
//
// A file may come from anybody: every number in it is checked before it is used, and nothing is allocated for a tensor
// before its bytes are known to lie in the file. Types: F64, F32, BF16, I32; at most 5 axes. Files of other programs
// may be opened with further types (SafetensorsTypes::any): F16, which is read as F32, and types that are not read.
//
// What is written here bears the XXH3 of every tensor as metadata "xxh3:NAME"; a file that has them is verified when a
// tensor is read. They are no part of metadata().
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "nn/files/file.h"

namespace mixgrad {

using Metadata = std::map<std::string, std::string>;

enum class SafetensorsTypes : std::uint8_t {
  own,  // F64, F32, BF16, I32; any other is a FormatError
  any   // every type of the format; F16 is read as F32, and reading another than these is a FormatError
};

class SafetensorsFile {
 public:
  struct Entry {
    DType dtype = DType::f32;  // as which it is read
    std::string type;          // its name in the file, such as "F16"
    Shape shape;
    std::int64_t begin = 0;  // bytes from the end of the header
    std::int64_t end = 0;
  };

  // IoError: the file cannot be read. FormatError: anything that is not exactly the format above.
  static SafetensorsFile open(const std::filesystem::path& path, SafetensorsTypes types = SafetensorsTypes::own);
  static SafetensorsFile parse(MappedFile file, SafetensorsTypes types = SafetensorsTypes::own);

  const std::string& path() const { return file_.path(); }
  const std::vector<std::string>& names() const { return names_; }  // in the order of their bytes
  const Metadata& metadata() const { return metadata_; }
  bool has(const std::string& name) const { return entries_.count(name) > 0; }
  const Entry& entry(const std::string& name) const;  // FormatError when there is no such tensor

  // FormatError unless the tensor's numbers are floats that read() knows. Reads nothing.
  void require_floats(const std::string& name) const;

  Tensor read(const std::string& name) const;  // a copy, in the stored type; F16 as f32
  // FormatError here and below also when the bytes are not those that were written (XXH3).
  // A copy that must have this shape, converted to `dtype`. FormatError, naming tensor, both shapes and file.
  // Float types convert into each other; i32 stays i32.
  Tensor read_as(const std::string& name, const Shape& shape, DType dtype) const;
  // The same into memory that exists (a row view may be given).
  void read_into(const std::string& name, const Tensor& target) const;

 private:
  void take_hashes();
  void verify(const std::string& name, const Entry& entry) const;
  void require_readable(const std::string& name, const Entry& entry) const;

  MappedFile file_;
  std::size_t data_offset_ = 0;  // of the first tensor byte in the file
  std::vector<std::string> names_;
  std::map<std::string, Entry> entries_;
  Metadata metadata_;
  std::map<std::string, std::string> hashes_;  // tensor -> XXH3; none in files of other writers
};

// Writes the tensors (on the CPU, row views allowed) in the given order, atomically (nn/files/file.h). The header is
// padded with spaces so that the data starts at a multiple of 8 bytes. ValueError: a name that occurs twice, is
// reserved or is not UTF-8, metadata that begins with "xxh3:", or an undefined tensor. IoError.
void write_safetensors(const std::filesystem::path& path, const Metadata& metadata,
                       std::span<const std::pair<std::string, Tensor>> tensors, WriteFile write = write_file_atomic);

}  // namespace mixgrad
