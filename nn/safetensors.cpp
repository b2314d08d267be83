#include "nn/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "core/error.h"
#include "nn/hash.h"
#include "nn/suggest.h"

namespace mixgrad {

static_assert(std::endian::native == std::endian::little, "tensors are copied to and from files as they lie");

namespace {

using nlohmann::json;

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own reader
constexpr const char* kMetadataKey = "__metadata__";
constexpr std::string_view kHashPrefix = "xxh3:";
constexpr const char* kAdvice = "; the file is damaged or was not written as safetensors: fetch or write it again";

constexpr const char* file_dtype(DType dtype) {
  switch (dtype) {
    case DType::f64: return "F64";
    case DType::f32: return "F32";
    case DType::bf16: return "BF16";
    case DType::i32: return "I32";
  }
  return "?";
}

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

}  // namespace

// The header's events in order. Depth 1 holds tensor names, depth 2 the fields of one tensor or the metadata, depth 3
// the two arrays. Every wrong event throws at once, so nesting and array lengths are bounded while parsing.
class SafetensorsHeader : public nlohmann::json_sax<json> {
 public:
  explicit SafetensorsHeader(SafetensorsFile& file) : file_(file) {}

  bool key(string_t& name) override {
    if (depth_ == 1) {
      if (!seen_.insert(name).second) fail("every tensor name must occur once", quote(name) + " occurs twice");
      name_ = name;
      in_metadata_ = name == kMetadataKey;
      has_dtype_ = has_shape_ = has_offsets_ = false;
      entry_ = {};
    } else if (in_metadata_) {
      if (!file_.metadata_.emplace(name, "").second) {
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
      file_.metadata_[field_] = text;
      return true;
    }
    if (depth_ != 2 || field_ != "dtype") unexpected("the string " + quote(text));
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::i32}) {
      if (text == file_dtype(dtype)) {
        entry_.dtype = dtype;
        return true;
      }
    }
    raise<FormatError>(file_.path(), ": ", where(), " must be of type F64, F32, BF16 or I32; found ", quote(text),
                       "; convert the tensor to one of these");
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
    raise<FormatError>(file_.path(), ": ", required, "; ", found, kAdvice);
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
    auto bytes = static_cast<std::int64_t>(dtype_bytes(entry_.dtype));
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
      fail(where() + " of shape " + entry_.shape.str() + " and type " + file_dtype(entry_.dtype) + " must occupy " +
               std::to_string(bytes) + " bytes",
           "its data_offsets are [" + std::to_string(entry_.begin) + "," + std::to_string(entry_.end) + "]");
    }
    file_.entries_.emplace(name_, entry_);
    file_.names_.push_back(name_);
  }

  SafetensorsFile& file_;
  int depth_ = 0;
  bool in_metadata_ = false;
  std::string name_;   // of the tensor being read
  std::string field_;  // the last key
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  SafetensorsFile::Entry entry_;
  std::vector<std::int64_t> numbers_;
  std::set<std::string> seen_;
};

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) { return parse(MappedFile::open(path)); }

SafetensorsFile SafetensorsFile::parse(MappedFile mapped) {
  SafetensorsFile file;
  file.file_ = std::move(mapped);
  const std::string_view content = file.file_.text();
  if (content.size() < kLengthBytes) {
    raise<FormatError>(file.path(), ": a safetensors file has at least 8 bytes; this one has ", content.size(),
                       kAdvice);
  }
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, content.data(), kLengthBytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > content.size() - kLengthBytes) {
    raise<FormatError>(file.path(), ": the header must lie in the file and have at most ", kMaxHeaderBytes,
                       " bytes; it claims ", header_bytes, " of ", content.size(), kAdvice);
  }
  const std::string_view header = content.substr(kLengthBytes, header_bytes);
  if (header.empty() || header.front() != '{') {
    raise<FormatError>(file.path(), ": the header must begin with '{'; it does not", kAdvice);
  }
  SafetensorsHeader reader(file);
  json::sax_parse(header.begin(), header.end(), &reader);
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
                         " where ", next, " is expected", kAdvice);
    }
    next = entry.end;
  }
  const std::size_t data_bytes = content.size() - file.data_offset_;
  if (static_cast<std::uint64_t>(next) != data_bytes) {
    raise<FormatError>(file.path(), ": the header describes ", next, " bytes of data; the file has ", data_bytes,
                       static_cast<std::uint64_t>(next) > data_bytes ? " (it is truncated)" : " (trailing bytes)",
                       kAdvice);
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
                         quote(item->second), kAdvice);
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
                       quote(name), kAdvice);
  }
  const auto at = data_offset_ + static_cast<std::size_t>(entry.begin);
  const std::string is = xxh3_hex(file_.text().substr(at, static_cast<std::size_t>(entry.end - entry.begin)));
  if (is != found->second) {
    raise<FormatError>(path(), ": tensor ", quote(name), " must have the XXH3 ", found->second, "; its bytes have ", is,
                       "; the file was damaged after it was written: take another generation");
  }
}

const SafetensorsFile::Entry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    raise<FormatError>(path(), ": a tensor ", quote(name), " is required; the file has ", names_.size(),
                       " tensors, but not this one; ", did_you_mean(name, names_),
                       "check that the file belongs to this model");
  }
  return found->second;
}

Tensor SafetensorsFile::read(const std::string& name) const {
  const Entry& found = entry(name);
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
  const std::size_t element = dtype_bytes(found.dtype);
  const std::size_t row_bytes = static_cast<std::size_t>(target.cols()) * element;
  const std::size_t stride_bytes = static_cast<std::size_t>(target.row_stride()) * element;
  auto* to = static_cast<std::byte*>(target.raw());
  for (std::int64_t r = 0; r < target.rows(); ++r) {
    const auto row = static_cast<std::size_t>(r);
    std::memcpy(to + row * stride_bytes, from + row * row_bytes, row_bytes);
  }
}

void write_safetensors(const std::filesystem::path& path, const Metadata& metadata,
                       std::span<const std::pair<std::string, Tensor>> tensors, WriteFile write) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty() || !tensors.empty()) header[kMetadataKey] = metadata;
  for (const auto& item : metadata) {
    if (item.first.starts_with(kHashPrefix)) {
      raise<ValueError>(path.string(), ": metadata must not begin with \"xxh3:\"; got ", quote(item.first),
                        "; rename it");
    }
  }
  std::set<std::string> seen;
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    if (name == kMetadataKey || !seen.insert(name).second) {
      raise<ValueError>(path.string(), ": tensor names must be unique and not \"__metadata__\"; got ", quote(name),
                        name == kMetadataKey ? "" : " twice", "; rename one");
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
    header[kMetadataKey][std::string(kHashPrefix) + name] = hash_of(tensor);
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
