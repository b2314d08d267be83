// A part of the steps of a sequence, for tests of cached forms.
#pragma once

#include <array>

#include "core/tensor.h"

namespace mixgrad::test {

// A copy of steps [begin,end) of x [B,T,...] (contiguous, on the CPU).
inline Tensor steps_of(const Tensor& x, std::int64_t begin, std::int64_t end) {
  std::array<std::int64_t, Shape::kMaxRank> dims{};
  for (int axis = 0; axis < x.shape().rank(); ++axis) dims[static_cast<std::size_t>(axis)] = x.dim(axis);
  dims[1] = end - begin;
  const std::int64_t width = x.numel() / (x.dim(0) * x.dim(1));
  const Tensor part = Tensor::empty(Shape::from(dims.data(), x.shape().rank()), x.dtype());
  const Tensor from = x.reshape({x.dim(0), x.dim(1), width});
  const Tensor to = part.reshape({x.dim(0), end - begin, width});
  for (std::int64_t b = 0; b < x.dim(0); ++b) {
    to.slice(b, b + 1)
        .reshape({end - begin, width})
        .copy_from(from.slice(b, b + 1).reshape({x.dim(1), width}).slice(begin, end));
  }
  return part;
}

}  // namespace mixgrad::test
