#include "nn/files/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "core/error.h"
#include "core/numeric/bit_cast.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"
#include "nn/files/hash.h"
#include "nn/files/safetensors_header.h"

namespace mixgrad {

static_assert(std::endian::native == std::endian::little, "tensors are copied to and from files as they lie");

namespace {

using nlohmann::json;

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own reader
constexpr std::string_view kHashPrefix = "xxh3:";

// Calls see(pointer, bytes) for the tensor's elements in row-major order.
template <class See>
void for_bytes(const Tensor& tensor, const See& see) {
  const auto* data = static_cast<const std::byte*>(tensor.raw());
  if (tensor.is_contiguous()) {
    see(data, tensor.bytes());
    return;
  }
  const std::size_t element = dtype_bytes(tensor.dtype());
  for (std::int64_t r = 0; r < tensor.rows(); ++r) {
    see(data + static_cast<std::size_t>(r * tensor.row_stride()) * element,
        static_cast<std::size_t>(tensor.cols()) * element);
  }
}

std::string hash_of(const Tensor& tensor) {
  Xxh3 hash;
  const Tensor here = tensor.to(kCpu);
  for_bytes(here, [&](const std::byte* data, std::size_t bytes) { hash.add(data, bytes); });
  return hash.hex();
}

// IEEE 754 binary16 as binary32, which has every one of its values.
float float_of_half(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16U;
  const std::uint32_t exponent = (half >> 10U) & 0x1fU;
  const std::uint32_t fraction = half & 0x3ffU;
  if (exponent == 0) {  // zero or subnormal: fraction 2^-24
    const float value = static_cast<float>(fraction) * 0x1p-24F;
    return sign == 0 ? value : -value;
  }
  const std::uint32_t wide = exponent == 0x1fU ? 0xffU : exponent + 112U;
  return bit_cast<float>(sign | (wide << 23U) | (fraction << 13U));
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path, SafetensorsTypes types) {
  return parse(MappedFile::open(path), types);
}

SafetensorsFile SafetensorsFile::parse(MappedFile mapped, SafetensorsTypes types) {
  SafetensorsFile file;
  file.file_ = std::move(mapped);
  const std::string_view content = file.file_.text();
  if (content.size() < kLengthBytes) {
    raise<FormatError>(file.path(), ": a safetensors file has at least 8 bytes; this one has ", content.size(),
                       kSafetensorsAdvice);
  }
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, content.data(), kLengthBytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > content.size() - kLengthBytes) {
    raise<FormatError>(file.path(), ": the header must lie in the file and have at most ", kMaxHeaderBytes,
                       " bytes; it claims ", header_bytes, " of ", content.size(), kSafetensorsAdvice);
  }
  const std::string_view header = content.substr(kLengthBytes, header_bytes);
  if (header.empty() || header.front() != '{') {
    raise<FormatError>(file.path(), ": the header must begin with '{'; it does not", kSafetensorsAdvice);
  }
  SafetensorsHeader read = read_safetensors_header(header, file.path(), types);
  file.names_ = std::move(read.names);
  file.entries_ = std::move(read.entries);
  file.metadata_ = std::move(read.metadata);
  file.data_offset_ = kLengthBytes + header.size();

  std::sort(file.names_.begin(), file.names_.end(), [&](const std::string& a, const std::string& b) {
    const Entry& x = file.entries_.at(a);
    const Entry& y = file.entries_.at(b);
    return std::tie(x.begin, x.end, a) < std::tie(y.begin, y.end, b);
  });
  std::int64_t next = 0;
  for (const std::string& name : file.names_) {
    const Entry& entry = file.entries_.at(name);
    if (entry.begin != next) {
      raise<FormatError>(file.path(), ": tensors must follow each other without ",
                         entry.begin < next ? "overlap" : "holes", "; tensor ", quote(name), " begins at ", entry.begin,
                         " where ", next, " is expected", kSafetensorsAdvice);
    }
    next = entry.end;
  }
  const std::size_t data_bytes = content.size() - file.data_offset_;
  if (static_cast<std::uint64_t>(next) != data_bytes) {
    raise<FormatError>(file.path(), ": the header describes ", count_text(static_cast<std::int64_t>(next), "byte"),
                       " of data; the file has ", data_bytes,
                       static_cast<std::uint64_t>(next) > data_bytes ? " (it is truncated)" : " (trailing bytes)",
                       kSafetensorsAdvice);
  }
  file.take_hashes();
  return file;
}

// Moves "xxh3:NAME" out of the metadata.
void SafetensorsFile::take_hashes() {
  for (auto item = metadata_.begin(); item != metadata_.end();) {
    if (!item->first.starts_with(kHashPrefix)) {
      ++item;
      continue;
    }
    if (!is_xxh3_hex(item->second)) {
      raise<FormatError>(path(), ": metadata ", quote(item->first), " must be 16 hexadecimal digits; found ",
                         quote(item->second), kSafetensorsAdvice);
    }
    hashes_.emplace(item->first.substr(kHashPrefix.size()), item->second);
    item = metadata_.erase(item);
  }
}

void SafetensorsFile::verify(const std::string& name, const Entry& entry) const {
  if (hashes_.empty()) return;  // of another writer
  const auto found = hashes_.find(name);
  if (found == hashes_.end()) {
    raise<FormatError>(path(), ": every tensor must have its XXH3 where one has; the metadata lacks that of ",
                       quote(name), kSafetensorsAdvice);
  }
  const auto at = data_offset_ + static_cast<std::size_t>(entry.begin);
  const std::string is = xxh3_hex(file_.text().substr(at, static_cast<std::size_t>(entry.end - entry.begin)));
  if (is != found->second) {
    file_.require_whole();
    raise<FormatError>(path(), ": tensor ", quote(name), " must have the XXH3 ", found->second, "; its bytes have ", is,
                       "; the file was damaged after it was written: take another generation");
  }
}

const SafetensorsFile::Entry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    raise<FormatError>(path(), ": a tensor ", quote(name), " is required; the file has ",
                       count_text(static_cast<std::int64_t>(names_.size()), "tensor"), ", but not this one; ",
                       did_you_mean(name, names_), "check that the file belongs to this model");
  }
  return found->second;
}

void SafetensorsFile::require_readable(const std::string& name, const Entry& found) const {
  if (found.type == kHalf || found.type == file_dtype(found.dtype)) return;
  raise<FormatError>(path(), ": tensor ", quote(name), " must be of type F64, F32, BF16 or F16; found ",
                     quote(found.type), "; convert the tensor to one of these");
}

void SafetensorsFile::require_floats(const std::string& name) const {
  const Entry& found = entry(name);
  if (found.type == kHalf || (is_float(found.dtype) && found.type == file_dtype(found.dtype))) return;
  raise<FormatError>(path(), ": tensor ", quote(name), " must be of type F64, F32, BF16 or F16; found ",
                     quote(found.type), "; convert the tensor to one of these");
}

Tensor SafetensorsFile::read(const std::string& name) const {
  const Entry& found = entry(name);
  require_readable(name, found);
  Tensor tensor = Tensor::empty(found.shape, found.dtype);
  read_into(name, tensor);
  return tensor;
}

Tensor SafetensorsFile::read_as(const std::string& name, const Shape& shape, DType dtype) const {
  // Asked before memory is taken: the shape wanted here may be far larger than what the file holds.
  if (!(entry(name).shape == shape)) {
    raise<FormatError>(path(), ": tensor ", quote(name), " must have the shape ", shape, "; found ", entry(name).shape,
                       "; check that the file belongs to this model");
  }
  Tensor tensor = Tensor::empty(shape, dtype);
  read_into(name, tensor);
  return tensor;
}

void SafetensorsFile::read_into(const std::string& name, const Tensor& target) const {
  const Entry& found = entry(name);
  if (!(found.shape == target.shape())) {
    raise<FormatError>(path(), ": tensor ", quote(name), " must have the shape ", target.shape(), "; found ",
                       found.shape, "; check that the file belongs to this model");
  }
  require_readable(name, found);
  if (is_float(found.dtype) != is_float(target.dtype())) {
    raise<FormatError>(path(), ": tensor ", quote(name), " must be of type ",
                       is_float(target.dtype()) ? "F64, F32 or BF16" : "I32", "; found ", file_dtype(found.dtype),
                       "; check that the file belongs to this model");
  }
  if (found.dtype != target.dtype() || !target.device().is_cpu()) {
    target.copy_from(read(name));  // verified there
    return;
  }
  verify(name, found);
  const std::byte* from = file_.bytes().data() + data_offset_ + found.begin;
  if (found.type == kHalf) {
    for (std::int64_t r = 0; r < target.rows(); ++r) {
      float* row = target.data<float>() + r * target.row_stride();
      for (std::int64_t c = 0; c < target.cols(); ++c, from += sizeof(std::uint16_t)) {
        std::uint16_t half = 0;
        std::memcpy(&half, from, sizeof half);
        row[c] = float_of_half(half);
      }
    }
    file_.require_whole();
    return;
  }
  const std::size_t element = dtype_bytes(found.dtype);
  const std::size_t row_bytes = static_cast<std::size_t>(target.cols()) * element;
  const std::size_t stride_bytes = static_cast<std::size_t>(target.row_stride()) * element;
  auto* to = static_cast<std::byte*>(target.raw());
  for (std::int64_t r = 0; r < target.rows(); ++r) {
    const auto row = static_cast<std::size_t>(r);
    std::memcpy(to + row * stride_bytes, from + row * row_bytes, row_bytes);
  }
  file_.require_whole();
}

void write_safetensors(const std::filesystem::path& path, const Metadata& metadata,
                       std::span<const std::pair<std::string, Tensor>> tensors, WriteFile write) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty() || !tensors.empty()) header[kSafetensorsMetadata] = metadata;
  for (const auto& item : metadata) {
    if (item.first.starts_with(kHashPrefix)) {
      raise<ValueError>(path.string(), ": metadata must not begin with \"xxh3:\"; got ", quote(item.first),
                        "; rename it");
    }
  }
  std::set<std::string> seen;
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    if (name == kSafetensorsMetadata || !seen.insert(name).second) {
      raise<ValueError>(path.string(), ": tensor names must be unique and not \"__metadata__\"; got ", quote(name),
                        name == kSafetensorsMetadata ? "" : " twice", "; rename one");
    }
    if (!tensor.defined()) {
      raise<ValueError>(path.string(), ": defined tensors are required; ", quote(name),
                        " is undefined; give it a value");
    }
    std::vector<std::int64_t> shape;
    for (int axis = 0; axis < tensor.shape().rank(); ++axis) shape.push_back(tensor.dim(axis));
    nlohmann::ordered_json& entry = header[name];
    entry["dtype"] = file_dtype(tensor.dtype());
    entry["shape"] = shape;
    entry["data_offsets"] = {offset, offset + tensor.bytes()};
    offset += tensor.bytes();
    header[kSafetensorsMetadata][std::string(kHashPrefix) + name] = hash_of(tensor);
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception&) {
    raise<ValueError>(path.string(), ": tensor names and metadata must be valid UTF-8; got other bytes; ",
                      "leave them out");
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  if (text.size() > kMaxHeaderBytes) {
    raise<ValueError>(path.string(), ": the header must have at most ", kMaxHeaderBytes, " bytes; it has ", text.size(),
                      "; write fewer tensors");
  }
  write(path, [&](FileWriter& writer) {
    const std::uint64_t length = text.size();
    writer.write(&length, kLengthBytes);
    writer.write(text);
    for (const auto& item : tensors) {
      const Tensor here = item.second.to(kCpu);  // one at a time
      for_bytes(here, [&](const std::byte* data, std::size_t bytes) { writer.write(data, bytes); });
    }
  });
}

}  // namespace mixgrad
