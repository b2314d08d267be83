#include "core/cuda/launch.cuh"
#include "core/dispatch/accumulate.h"

namespace mixgrad::cuda {
namespace {

template <class T, class From>
void add_rows(const Tensor& to, const Tensor& from) {
  const Rows<T> y(to);
  const Rows<From> x(from);
  for_each_cell("add gradient", to.device(), y.count, y.width, [=] __device__(std::int64_t r, std::int64_t c) {
    T& element = y[r][c];
    element = static_cast<T>(acc_t<T>(element) + static_cast<acc_t<T>>(acc_t<From>(x[r][c])));
  });
}

}  // namespace

void accumulate(const Tensor& to, const Tensor& from) {
  dispatch_float(to.dtype(), "add gradient", [&]<class T>() {
    dispatch_float(from.dtype(), "add gradient", [&]<class From>() { add_rows<T, From>(to, from); });
  });
}

}  // namespace mixgrad::cuda
