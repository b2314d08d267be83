#include "core/accumulate.h"
#include "core/cuda_launch.cuh"

namespace mixgrad::cuda {
namespace {

template <class T, class From>
void add_rows(const Tensor& to, const Tensor& from) {
  const Rows<T> y(to);
  const Rows<From> x(from);
  for_each("add gradient", to.device(), to.numel(), [=] __device__(std::int64_t i) {
    T& place = y[i / y.width][i % y.width];
    place = static_cast<T>(acc_t<T>(place) + static_cast<acc_t<T>>(acc_t<From>(x[i / x.width][i % x.width])));
  });
}

}  // namespace

void accumulate(const Tensor& to, const Tensor& from) {
  dispatch_float(to.dtype(), "add gradient", [&]<class T>() {
    dispatch_float(from.dtype(), "add gradient", [&]<class From>() { add_rows<T, From>(to, from); });
  });
}

}  // namespace mixgrad::cuda
