#pragma once

#include "autograd/tape.h"
#include "ops/dispatch.h"

namespace mixgrad {

// A tensor of H heads, [..., H W] or [B,T,H,W], as the matrices of its heads: `rows` rows `ld` apart, heads `stride`.
struct HeadMatrices {
  std::int64_t rows, ld, stride;

  HeadMatrices(const Tensor& tensor, std::int64_t heads, std::int64_t width) {
    const bool split = tensor.cols() == width;  // with one head both are the same
    rows = split ? tensor.rows() / heads : tensor.rows();
    ld = split ? tensor.row_stride() * heads : tensor.row_stride();
    stride = split ? tensor.row_stride() : width;
  }
};

}  // namespace mixgrad

MIXGRAD_KERNELS(
    // y is written, or with `add` added to. bias may be undefined.
    void head_linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, bool add, const Tensor& y);
    // One input and its weight; any target may be undefined: not wanted. dweight has the accumulation type.
    void head_linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const GradTarget& dx,
                              const GradTarget& dweight);
    void head_linear_bias_backward(const Tensor& dy, const GradTarget& dbias);)
