// The JSON header of a safetensors file: read event by event, so that nothing in it is taken for granted, and nesting
// and array lengths are bounded while it is parsed. Used by safetensors.cpp alone.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "nn/files/safetensors.h"

namespace mixgrad {

inline constexpr const char* kSafetensorsMetadata = "__metadata__";
inline constexpr const char* kSafetensorsAdvice =
    "; the file is damaged or was not written as safetensors: fetch or write it again";

constexpr const char* file_dtype(DType dtype) {
  switch (dtype) {
    case DType::f64: return "F64";
    case DType::f32: return "F32";
    case DType::bf16: return "BF16";
    case DType::i32: return "I32";
  }
  return "?";
}

inline constexpr const char* kHalf = "F16";

struct SafetensorsHeader {
  std::vector<std::string> names;  // in the order of the header
  std::map<std::string, SafetensorsFile::Entry> entries;
  Metadata metadata;
};

// Every entry has its three fields, and data_offsets as far apart as shape and type say; where they lie among each
// other and in the file is not known here. FormatError; `path` names the file.
SafetensorsHeader read_safetensors_header(std::string_view header, const std::string& path, SafetensorsTypes types);

}  // namespace mixgrad
