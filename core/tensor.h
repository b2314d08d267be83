// Tensor: a cheap handle to shared memory, row-major, up to five axes.
//
// Contiguous, with one exception: a row view. Read as a matrix (rows = all axes but the last, cols = the last), row r
// starts at data + r * row_stride with row_stride >= cols. So q, k and v are read in place from a packed [B,T,3D], and
// their gradients are written in place. Everything else that would need strides copies.
//
// A tensor knows the tape slot of its gradient, but holds no gradient.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/allocator.h"
#include "core/context.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"

namespace mixgrad {

// Which gradient slot of which tape belongs to a tensor; written by autograd/tape.
struct Track {
  static constexpr std::int32_t kNone = -1;
  static constexpr std::int32_t kSevered = -2;  // an untracked view or copy of a tracked tensor: recording it throws

  std::uint32_t tape = 0;  // serial number of the tape, 0 = none
  std::int32_t slot = kNone;

  Track severed() const { return slot == kNone ? Track{} : Track{tape, kSevered}; }
};

// What memory a tensor is to have, where only that is open: f32, or {f32, device}.
struct Placement {
  DType dtype;
  Device device;
  Context context;  // under which a model computes there
  // The context is that of the scope in which the placement is made, unless one is given.
  Placement(DType type, Device where = kCpu,  // NOLINT(google-explicit-constructor)
            const Context& settings = mixgrad::context())
      : dtype(type), device(where), context(settings) {}
};

class Tensor {
 public:
  Tensor() = default;  // undefined: no memory, defined() is false

  static Tensor empty(const Shape& shape, DType dtype, Device device = kCpu);  // contents unspecified
  static Tensor empty(const Shape& shape, Placement placement) {
    return empty(shape, placement.dtype, placement.device);
  }
  static Tensor zeros(const Shape& shape, DType dtype, Device device = kCpu);
  static Tensor full(const Shape& shape, DType dtype, double value, Device device = kCpu);
  // Copies `values` (as many as the shape has elements, else ShapeError), converting them to `dtype`. On the host.
  static Tensor from(std::span<const double> values, const Shape& shape, DType dtype);
  static Tensor from_i32(std::span<const std::int32_t> values, const Shape& shape);

  bool defined() const { return static_cast<bool>(storage_); }
  const Shape& shape() const { return shape_; }
  std::int64_t dim(int axis) const { return shape_[axis]; }
  std::int64_t numel() const { return shape_.numel(); }
  std::int64_t rows() const { return shape_.rows(); }
  std::int64_t cols() const { return shape_.cols(); }
  std::int64_t row_stride() const { return row_stride_; }
  bool is_contiguous() const { return row_stride_ == cols() || rows() <= 1; }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_.device(); }
  std::size_t bytes() const { return static_cast<std::size_t>(numel()) * dtype_bytes(dtype_); }
  int use_count() const { return storage_.use_count(); }
  bool shares_memory_with(const Tensor& other) const { return storage_ == other.storage_; }

  // First element. DTypeError when T is not the element type.
  template <class T>
  T* data() const {
    if (dtype_of<T>() != dtype_) wrong_dtype(dtype_of<T>());
    return static_cast<T*>(raw());
  }
  void* raw() const { return static_cast<std::byte*>(storage_.data()) + offset_bytes_; }

  // Views. Only reshape keeps the tracking; the others of a tracked tensor are "severed": an operator that would
  // record them throws, so a gradient is never lost in silence. `columns` in autograd/tape.h is the tracked view.
  Tensor reshape(const Shape& shape) const;                        // same elements; a row view keeps its last axis
  Tensor slice(std::int64_t begin, std::int64_t end) const;        // rows [begin,end) of the first axis
  Tensor column_view(std::int64_t begin, std::int64_t end) const;  // a row view of the last axis
  Tensor detach() const;                                           // same memory, deliberately not tracked

  Tensor clone() const;                        // a contiguous copy
  Tensor to(DType dtype) const;                // a contiguous, converted copy on the same device
  Tensor to(Device device) const;              // a contiguous copy there; the tensor itself when it is there already
  void copy_from(const Tensor& source) const;  // same shape, any float dtype, any device
  void fill(double value) const;
  void zero() const;
  double item() const;                           // of a tensor with one element
  double at(std::int64_t i) const;               // element i in row-major order, for tests and printing: one copy each
  void set(std::int64_t i, double value) const;  // likewise
  std::vector<double> to_vector() const;
  bool equal_bits(const Tensor& other) const;  // same shape, dtype and bits

  // What the memory is for, as an out-of-memory error says it: a literal, "gradients".
  void set_role(const char* role) const { storage_.set_role(role); }

  const Track& track() const { return track_; }
  void set_track(Track track) { track_ = track; }

 private:
  [[noreturn]] void wrong_dtype(DType asked) const;
  std::int64_t element_offset(std::int64_t i) const { return i / cols() * row_stride_ + i % cols(); }
  Tensor element_view(std::int64_t i) const;        // [1]
  void copy_rows_from(const Tensor& source) const;  // same dtype; at least one of the two on a CUDA device

  Storage storage_;
  std::size_t offset_bytes_ = 0;
  Shape shape_;
  std::int64_t row_stride_ = 0;
  DType dtype_ = DType::f32;
  Track track_;
};

}  // namespace mixgrad
