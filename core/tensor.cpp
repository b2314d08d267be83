#include "core/tensor.h"

#include <algorithm>
#include <cstring>

#include "core/build.h"
#include "core/cuda/cuda.h"
#include "core/error.h"

namespace mixgrad {
namespace {

// Calls f.operator()<T>() for every dtype, i32 included.
template <class F>
decltype(auto) dispatch_any(DType dtype, F&& f) {
  if (dtype == DType::i32) return f.template operator()<std::int32_t>();
  return dispatch_float(dtype, "tensor", f);
}

}  // namespace

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  // Few enough elements that sizes in bytes fit into 63 bits (where addresses have 32, as in a browser, into 31); an
  // axis of size 0 does not hide a product that does not.
  constexpr std::int64_t kMaxElements = std::int64_t{1} << (sizeof(std::size_t) == 8 ? 59 : 28);
  std::int64_t count = 1;
  for (int i = 0; i < shape.rank(); ++i) {
    if (__builtin_mul_overflow(count, std::max<std::int64_t>(shape[i], 1), &count) || count > kMaxElements) {
      raise<ShapeError>("tensor: at most ", kMaxElements, " elements, got ", shape);
    }
  }
  Tensor tensor;
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  tensor.row_stride_ = shape.cols();
  tensor.storage_ = Storage::allocate(tensor.bytes(), device, {shape, dtype});
  return tensor;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor tensor = empty(shape, dtype, device);
  tensor.zero();
  return tensor;
}

Tensor Tensor::full(const Shape& shape, DType dtype, double value, Device device) {
  Tensor tensor = empty(shape, dtype, device);
  tensor.fill(value);
  return tensor;
}

Tensor Tensor::from(std::span<const double> values, const Shape& shape, DType dtype) {
  if (static_cast<std::int64_t>(values.size()) != shape.numel()) {
    raise<ShapeError>("tensor: ", shape, " needs ", shape.numel(), " values, got ", values.size());
  }
  Tensor tensor = empty(shape, dtype);
  for (std::size_t i = 0; i < values.size(); ++i) tensor.set(static_cast<std::int64_t>(i), values[i]);
  return tensor;
}

Tensor Tensor::from_i32(std::span<const std::int32_t> values, const Shape& shape) {
  if (static_cast<std::int64_t>(values.size()) != shape.numel()) {
    raise<ShapeError>("tensor: ", shape, " needs ", shape.numel(), " values, got ", values.size());
  }
  Tensor tensor = empty(shape, DType::i32);
  std::copy(values.begin(), values.end(), tensor.data<std::int32_t>());
  return tensor;
}

void Tensor::wrong_dtype(DType asked) const {
  raise<DTypeError>("tensor: elements are ", dtype_name(dtype_), ", asked for as ", dtype_name(asked),
                    "; convert with to()");
}

Tensor Tensor::reshape(const Shape& shape) const {
  const bool same_rows = shape.cols() == cols();
  if (shape.numel() != numel() || (!is_contiguous() && !same_rows)) {
    raise<ShapeError>("reshape: ", shape_, " with ", numel(), " elements", is_contiguous() ? "" : " (a row view)",
                      " cannot become ", shape, is_contiguous() ? "" : "; keep the last axis, or clone() first");
  }
  Tensor view = *this;
  view.shape_ = shape;
  if (!same_rows) view.row_stride_ = shape.cols();
  return view;
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t end) const {
  if (shape_.rank() == 0 || begin < 0 || end < begin || end > dim(0)) {
    raise<ShapeError>("slice: [", begin, ",", end, ") is not within the first axis of ", shape_);
  }
  std::array<std::int64_t, Shape::kMaxRank> dims{};
  for (int i = 0; i < shape_.rank(); ++i) dims[static_cast<std::size_t>(i)] = dim(i);
  dims[0] = end - begin;
  Tensor view = *this;
  view.track_ = track_.severed();
  view.shape_ = Shape::from(dims.data(), shape_.rank());
  const std::int64_t outer = shape_.rank() == 1 ? begin : begin * (dim(0) == 0 ? 0 : rows() / dim(0)) * row_stride_;
  view.offset_bytes_ += static_cast<std::size_t>(outer) * dtype_bytes(dtype_);
  if (shape_.rank() == 1) view.row_stride_ = end - begin;
  return view;
}

Tensor Tensor::column_view(std::int64_t begin, std::int64_t end) const {
  if (begin < 0 || end < begin || end > cols()) {
    raise<ShapeError>("columns: [", begin, ",", end, ") is not within the last axis of ", shape_);
  }
  Tensor view = *this;
  view.track_ = track_.severed();
  view.shape_ = shape_.with_last(end - begin);
  view.offset_bytes_ += static_cast<std::size_t>(begin) * dtype_bytes(dtype_);
  return view;
}

Tensor Tensor::detach() const {
  Tensor view = *this;
  view.track_ = {};
  return view;
}

Tensor Tensor::clone() const { return to(dtype_); }

Tensor Tensor::to(Device where) const {
  if (where == device()) return *this;
  Tensor copy = empty(shape_, dtype_, where);
  copy.copy_from(*this);
  copy.track_ = track_.severed();
  return copy;
}

Tensor Tensor::to(DType dtype) const {
  Tensor copy = empty(shape_, dtype, device());
  copy.copy_from(*this);
  copy.track_ = track_.severed();
  return copy;
}

void Tensor::copy_from(const Tensor& source) const {
  if (!(source.shape_ == shape_)) raise<ShapeError>("copy: shapes must be equal, got ", shape_, " and ", source.shape_);
  if (device().is_cuda() || source.device().is_cuda()) {
    const bool converts = dtype_ != source.dtype_;
    if constexpr (build::has_cuda) {
      const bool floats = is_float(dtype_) && is_float(source.dtype_);
      if (converts && floats && device() == source.device()) return cuda::convert(*this, source);
    }
    copy_rows_from(converts ? source.to(kCpu).to(dtype_) : source);  // converted on the host
    return;
  }
  const std::int64_t width = cols();
  dispatch_any(dtype_, [&]<class To>() {
    dispatch_any(source.dtype_, [&]<class From>() {
      for (std::int64_t r = 0; r < rows(); ++r) {
        To* to = data<To>() + r * row_stride_;
        const From* from = source.data<From>() + r * source.row_stride_;
        if constexpr (std::is_same_v<To, From>) {
          std::memcpy(to, from, static_cast<std::size_t>(width) * sizeof(To));
        } else if constexpr (std::is_same_v<From, bf16>) {
          for (std::int64_t c = 0; c < width; ++c) to[c] = static_cast<To>(static_cast<float>(from[c]));
        } else if constexpr (std::is_same_v<To, bf16>) {
          for (std::int64_t c = 0; c < width; ++c) to[c] = bf16(static_cast<float>(from[c]));
        } else {
          for (std::int64_t c = 0; c < width; ++c) to[c] = static_cast<To>(from[c]);
        }
      }
    });
  });
}

void Tensor::copy_rows_from(const Tensor& source) const {
  if constexpr (build::has_cuda) {
    const std::size_t size = dtype_bytes(dtype_);
    cuda::copy({raw(), device(), static_cast<std::size_t>(row_stride_) * size, source.raw(), source.device(),
                static_cast<std::size_t>(source.row_stride_) * size, static_cast<std::size_t>(cols()) * size,
                static_cast<std::size_t>(rows())});
  }
}

void Tensor::fill(double value) const {
  if constexpr (build::has_cuda) {
    if (device().is_cuda()) return cuda::fill(*this, value);
  }
  for (std::int64_t i = 0; i < numel(); ++i) set(i, value);
}

void Tensor::zero() const {
  const std::size_t row_bytes = static_cast<std::size_t>(cols()) * dtype_bytes(dtype_);
  const std::size_t pitch = static_cast<std::size_t>(row_stride_) * dtype_bytes(dtype_);
  const auto count = static_cast<std::size_t>(rows());
  if constexpr (build::has_cuda) {
    if (device().is_cuda()) return cuda::fill_rows(raw(), device(), pitch, row_bytes, count, 0);
  }
  auto* row = static_cast<std::byte*>(raw());
  if (is_contiguous()) {
    std::memset(row, 0, count * row_bytes);
    return;
  }
  for (std::size_t r = 0; r < count; ++r, row += pitch) std::memset(row, 0, row_bytes);
}

Tensor Tensor::element_view(std::int64_t i) const {
  Tensor view = *this;
  view.offset_bytes_ += static_cast<std::size_t>(element_offset(i)) * dtype_bytes(dtype_);
  view.shape_ = {1};
  view.row_stride_ = 1;
  return view;
}

double Tensor::item() const {
  if (numel() != 1) raise<ShapeError>("item: a tensor with one element is required, got ", shape_);
  return at(0);
}

double Tensor::at(std::int64_t i) const {
  MIXGRAD_ASSERT(i >= 0 && i < numel(), "element index within the tensor");
  if (device().is_cuda()) return element_view(i).to(kCpu).at(0);
  return dispatch_any(dtype_, [&]<class T>() { return static_cast<double>(data<T>()[element_offset(i)]); });
}

void Tensor::set(std::int64_t i, double value) const {
  MIXGRAD_ASSERT(i >= 0 && i < numel(), "element index within the tensor");
  if (device().is_cuda()) {
    element_view(i).copy_from(full({1}, dtype_, value));
    return;
  }
  dispatch_any(dtype_, [&]<class T>() { data<T>()[element_offset(i)] = static_cast<T>(value); });
}

std::vector<double> Tensor::to_vector() const {
  if (device().is_cuda()) return to(kCpu).to_vector();
  std::vector<double> values(static_cast<std::size_t>(numel()));
  if (values.empty()) return values;
  dispatch_any(dtype_, [&]<class T>() {
    double* to = values.data();
    for (std::int64_t r = 0; r < rows(); ++r) {
      const T* row = data<T>() + r * row_stride_;
      to = std::transform(row, row + cols(), to, [](T value) { return static_cast<double>(value); });
    }
  });
  return values;
}

bool Tensor::equal_bits(const Tensor& other) const {
  if (!(shape_ == other.shape_) || dtype_ != other.dtype_) return false;
  if (device().is_cuda() || other.device().is_cuda()) return to(kCpu).equal_bits(other.to(kCpu));
  const std::size_t row_bytes = static_cast<std::size_t>(cols()) * dtype_bytes(dtype_);
  const auto* a = static_cast<const std::byte*>(raw());
  const auto* b = static_cast<const std::byte*>(other.raw());
  for (std::int64_t r = 0; r < rows(); ++r) {
    const auto row = static_cast<std::size_t>(r) * dtype_bytes(dtype_);
    if (std::memcmp(a + row * static_cast<std::size_t>(row_stride_),
                    b + row * static_cast<std::size_t>(other.row_stride_), row_bytes) != 0) {
      return false;
    }
  }
  return true;
}

}  // namespace mixgrad
