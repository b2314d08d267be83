#include <cmath>

#include "ops/norm/norm.h"
#include "ops/rms_norm/rms_norm_kernels.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {

void rms_norm_forward(const Tensor& x, const Tensor& y, const Tensor& weight, double eps, const Tensor& sum,
                      const Tensor& normed, const Tensor& inv_rms) {
  dispatch_norm(x, normed, "rms_norm", [&]<class X, class T>() {
    using A = acc_t<T>;
    const Rows<X> in(x);
    const Rows<T> addend(y);
    const Rows<X> total(sum);
    const Rows<T> out(normed);
    const A* w = weight.data<A>();
    A* inverses = inv_rms.data<A>();
    const std::int64_t width = in.width;
    parallel_rows(in.count, rows_per_task(width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        const X* row = row_to_norm(in, addend, total, r, 0, 1);
        A squares = 0;
#pragma omp simd reduction(+ : squares)
        for (std::int64_t c = 0; c < width; ++c) squares += A(row[c]) * A(row[c]);
        const A inverse = A(1) / std::sqrt(squares / A(width) + A(eps));
        inverses[r] = inverse;
        T* to = out[r];
        for (std::int64_t c = 0; c < width; ++c) to[c] = static_cast<T>(A(row[c]) * inverse * w[c]);
      }
    });
  });
}

void rms_norm_backward(const Tensor& x, const Tensor& weight, const Tensor& inv_rms, const Tensor& dnormed,
                       const Tensor& dsum, const GradTarget& d, const GradTarget& dy, const GradTarget& dweight) {
  dispatch_norm(x, dnormed, "rms_norm", [&]<class X, class T>() {
    using A = acc_t<T>;
    const Rows<X> in(x);
    const Rows<T> up(dnormed);
    const Rows<X> residual(dsum);
    const Rows<X> out(d.tensor);
    const Rows<T> other(dy.tensor);
    const A* w = weight.data<A>();
    const A* inverses = inv_rms.data<A>();
    A* dw = dweight.tensor.defined() ? dweight.tensor.data<A>() : nullptr;
    const std::int64_t width = in.width;
    ordered_column_sums<A>(
        in.count, width, rows_per_task(width),
        [&](std::int64_t begin, std::int64_t end, A* sums) {
          for (std::int64_t r = begin; r < end; ++r) {
            const X* row = in[r];
            const T* g = up[r];
            const A inverse = inverses[r];
            if (out) {
              A sum_gx = 0;
#pragma omp simd reduction(+ : sum_gx)
              for (std::int64_t c = 0; c < width; ++c) sum_gx += A(g[c]) * w[c] * A(row[c]);
              const A slope = sum_gx * inverse * inverse / A(width);
              const X* extra = residual ? residual[r] : nullptr;
              T* also = other ? other[r] : nullptr;
              X* to = out[r];
              for (std::int64_t c = 0; c < width; ++c) {
                A value = inverse * (A(g[c]) * w[c] - A(row[c]) * slope);
                if (extra != nullptr) value += A(extra[c]);
                if (also != nullptr) put(also[c], dy.add, value);
                if (d.add) value += A(to[c]);
                to[c] = static_cast<X>(value);
              }
            }
#pragma omp simd
            for (std::int64_t c = 0; c < width; ++c) sums[c] += A(g[c]) * (A(row[c]) * inverse);
          }
        },
        [&](std::int64_t c, A total) {
          if (dw != nullptr) put(dw[c], dweight.add, total);
        });
  });
}

}  // namespace mixgrad::cpu
