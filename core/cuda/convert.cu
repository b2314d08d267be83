// Values and conversions written on the device (core/cuda/cuda.h).
#include "core/cuda/launch.cuh"

namespace mixgrad::cuda {
namespace {

template <class T>
void fill_with(const Tensor& tensor, T value) {
  const Rows<T> rows(tensor);
  for_each_cell("fill", tensor.device(), rows.count, rows.width,
                [=] __device__(std::int64_t r, std::int64_t c) { rows[r][c] = value; });
}

// As the host's copy_from rounds: to bf16 by way of f32.
template <class To, class From>
__device__ To converted(From value) {
  if constexpr (std::is_same_v<To, bf16>) {
    return bf16(static_cast<float>(value));
  } else {
    return static_cast<To>(static_cast<acc_t<From>>(value));
  }
}

template <class To, class From>
void convert_rows(const Tensor& to, const Tensor& from) {
  const Rows<To> y(to);
  const Rows<From> x(from);
  for_each_cell("convert", to.device(), y.count, y.width,
                [=] __device__(std::int64_t r, std::int64_t c) { y[r][c] = converted<To>(x[r][c]); });
}

}  // namespace

void fill(const Tensor& tensor, double value) {
  if (tensor.dtype() == DType::i32) return fill_with(tensor, static_cast<std::int32_t>(value));
  dispatch_float(tensor.dtype(), "fill", [&]<class T>() { fill_with(tensor, static_cast<T>(value)); });
}

void convert(const Tensor& to, const Tensor& from) {
  dispatch_float(to.dtype(), "convert", [&]<class To>() {
    dispatch_float(from.dtype(), "convert", [&]<class From>() { convert_rows<To, From>(to, from); });
  });
}

}  // namespace mixgrad::cuda
