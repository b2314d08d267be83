// Gradients: the result of a backward pass. A value, not a field of the tensor: there is nothing to zero.
//
// The gradients of all leaves lie in one flat buffer, in the order in which the leaves were given, each start aligned
// to 64 bytes. Clipping is one reduction, an optimizer one pass, an all-reduce one call.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace mixgrad {

// Where each leaf lies in a flat buffer of `total` elements.
struct FlatLayout {
  std::vector<std::int64_t> offsets;
  std::vector<Shape> shapes;
  std::int64_t total = 0;

  explicit FlatLayout(std::span<const Shape> shapes);
  Tensor view(const Tensor& flat, std::size_t i) const;  // leaf i of a flat [total] tensor
};

class Gradients {
 public:
  // For leaves of these shapes. `dtype` is f64 or f32 (of bf16 leaves too: gradients accumulate in f32).
  Gradients(std::span<const Shape> shapes, DType dtype, Device device = kCpu);

  std::size_t size() const { return arrived_.size(); }
  const Tensor& flat() const { return flat_; }  // [total], zero in the gaps between leaves
  // Gradient of leaf i. GradError when none has arrived.
  const Tensor& of(std::size_t i) const;
  bool arrived(std::size_t i) const { return arrived_[i] != 0; }

  // Forgets all gradients without touching memory: the next backward writes. Without it the next backward adds.
  void clear();
  // The contrary: whatever the memory holds counts as arrived, and the next backward adds to it. For a sum that was
  // filled in from elsewhere, and for the gradient check.
  void mark_all_arrived();
  // Leaf i counts as arrived exactly when it has arrived in `other`: this buffer was filled with a sum of such buffers.
  void mark_arrived_as(const Gradients& other);
  // The parts [begin, end) of flat() that hold the leaves that have arrived, as few as possible, in order.
  std::vector<std::pair<std::int64_t, std::int64_t>> arrived_ranges() const;

 private:
  friend class Tape;
  Tensor flat_;
  std::vector<Tensor> views_;
  std::vector<std::uint8_t> arrived_;
};

}  // namespace mixgrad
