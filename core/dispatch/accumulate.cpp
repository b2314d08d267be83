#include "core/dispatch/accumulate.h"

#include <algorithm>

#include "core/build.h"
#include "core/parallel.h"

namespace mixgrad {

void accumulate(const Tensor& to, const Tensor& from) {
  MIXGRAD_DISPATCH_IF(build::has_cuda, to.device(), accumulate, to, from);
}

void cpu::accumulate(const Tensor& to, const Tensor& from) {
  dispatch_float(to.dtype(), "add gradient", [&]<class T>() {
    dispatch_float(from.dtype(), "add gradient", [&]<class From>() {
      constexpr std::int64_t kRows = 64;
      const std::int64_t width = to.cols();
      parallel_for((to.rows() + kRows - 1) / kRows, [&](std::int64_t task) {
        for (std::int64_t r = task * kRows; r < std::min(to.rows(), (task + 1) * kRows); ++r) {
          T* y = to.data<T>() + r * to.row_stride();
          const From* x = from.data<From>() + r * from.row_stride();
          for (std::int64_t c = 0; c < width; ++c) {
            y[c] = static_cast<T>(acc_t<T>(y[c]) + static_cast<acc_t<T>>(acc_t<From>(x[c])));
          }
        }
      });
    });
  });
}

}  // namespace mixgrad
