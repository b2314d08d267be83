// A tensor as kernels on either device read it: rows of `width` elements, `stride` apart. Null when the tensor is
// undefined.
#pragma once

#include <cstdint>

#include "core/numeric/vec_math.h"
#include "core/tensor.h"

namespace mixgrad {

template <class T>
struct Rows {
  T* data = nullptr;
  std::int64_t count = 0;
  std::int64_t width = 0;
  std::int64_t stride = 0;

  explicit Rows(const Tensor& tensor)
      : data(tensor.defined() ? tensor.data<T>() : nullptr),
        count(tensor.defined() ? tensor.rows() : 0),
        width(tensor.defined() ? tensor.cols() : 0),
        stride(tensor.row_stride()) {}
  Rows(T* data_, std::int64_t count_, std::int64_t width_, std::int64_t stride_)
      : data(data_), count(count_), width(width_), stride(stride_) {}
  // Rows [first, first + number) of these.
  Rows part(std::int64_t first, std::int64_t number) const { return {data + first * stride, number, width, stride}; }
  MIXGRAD_HD T* operator[](std::int64_t row) const { return data + row * stride; }
  MIXGRAD_HD explicit operator bool() const { return data != nullptr; }
};

}  // namespace mixgrad
