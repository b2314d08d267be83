// Integers in a safetensors file: ids (one axis), or the codes of an audio codec such as EnCodec (two or three axes),
// in the order of the tensors' names. nn/files/safetensors.h reads the types of tensors that models have; codes are
// mostly of the others, I64 and I16.
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/data/readers/built_in_readers.h"
#include "nn/data/readers/byte_reader.h"
#include "nn/data/readers/integer_array.h"
#include "nn/files/strict_json.h"

namespace mixgrad {
namespace {

constexpr std::uint64_t kMostHeader = std::uint64_t{64} << 20U;  // bytes

struct IntegerType {
  std::string_view name;
  std::size_t width;
  bool is_signed;
};
constexpr std::array<IntegerType, 8> kIntegerTypes{{{"I64", 8, true},
                                                    {"I32", 4, true},
                                                    {"I16", 2, true},
                                                    {"I8", 1, true},
                                                    {"U64", 8, false},
                                                    {"U32", 4, false},
                                                    {"U16", 2, false},
                                                    {"U8", 1, false}}};

IntegerArray integer_tensor(const nlohmann::json& entry, const JsonPlace& place, std::string_view data) {
  json_exact_keys(entry, place, {"dtype", "shape", "data_offsets"});
  IntegerArray array;
  array.source = place.source + " tensor " + quote(place.path);
  const std::string& type = json_string(entry.at("dtype"), place.key("dtype"));
  for (const IntegerType& known : kIntegerTypes) {
    if (known.name != type) continue;
    array.width = known.width;
    array.is_signed = known.is_signed;
  }
  if (array.width == 0) {
    raise<FormatError>(array.source, ": token ids must be integers (I8 to I64, U8 to U64); the type is ", quote(type),
                       "; give a file of ids or codes alone");
  }
  for (const auto& size : json_array(entry.at("shape"), place.key("shape"))) {
    array.shape.push_back(json_integer(size, place.key("shape"), 0, INT64_MAX));
  }
  const nlohmann::json& offsets = json_array(entry.at("data_offsets"), place.key("data_offsets"));
  if (offsets.size() != 2) place.key("data_offsets").wrong("two numbers", offsets);
  const auto end = json_integer(offsets[1], place.key("data_offsets"), 0, static_cast<std::int64_t>(data.size()));
  const auto begin = json_integer(offsets[0], place.key("data_offsets"), 0, end);
  array.bytes = data.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  if (!array.fits(array.bytes.size())) {
    raise<FormatError>(array.source, ": its bytes must be those of its shape and type; data_offsets give ",
                       array.bytes.size(), "; the file is damaged: fetch or write it again");
  }
  return array;
}

void read_integer_tensors(std::string_view content, const std::string& source, const ReaderOptions& options,
                          DocumentSink& sink) {
  ByteReader bytes(content, source);
  const auto length = bytes.little<std::uint64_t>("the length of the header");
  if (length > kMostHeader) {
    raise<FormatError>(source, ": a safetensors file has a header of at most 64 MiB; this one says ", length,
                       " bytes; the file is damaged: fetch or write it again");
  }
  const nlohmann::json header = parse_strict_json(bytes.take(length, "the header"), source);
  json_object(header, {source, ""});
  const std::string_view data = content.substr(bytes.position());
  std::size_t tensors = 0;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const IntegerArray array = integer_tensor(entry, {source, name}, data);
    if (array.shape.size() >= 2 || !options.codebooks.empty()) {
      send_codes(array, options, sink);
    } else {
      send_rows(array, sink);
    }
    ++tensors;
  }
  if (tensors == 0) {
    raise<FormatError>(source, ": at least one tensor of integers is required; the file has none; give another file");
  }
}

}  // namespace

Reader built_in::safetensors_reader() {
  return {.name = "safetensors",
          .what = "safetensors of integers",
          .extensions = {".safetensors"},
          .yields = Reader::Yields::ids,
          .recognises = nullptr,
          .read = read_integer_tensors};
}

}  // namespace mixgrad
