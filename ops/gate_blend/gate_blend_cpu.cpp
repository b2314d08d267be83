#include "core/numeric/vec_math.h"
#include "ops/gate_blend/gate_blend_kernels.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {

void gate_blend_forward(const Tensor& gate, const Tensor& u, const Tensor& z, const Tensor& y) {
  dispatch_float(gate.dtype(), "gate_blend", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> p(gate);
    const Rows<T> a(u);
    const Rows<T> b(z);
    const Rows<T> out(y);
    parallel_rows(p.count, rows_per_task(p.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T* pr = p[r];
        const T* ar = a[r];
        const T* br = b[r];
        T* to = out[r];
#pragma omp simd
        for (std::int64_t c = 0; c < p.width; ++c) {
          assign(to[c], A(br[c]) + sigmoid_value(A(pr[c])) * (A(ar[c]) - A(br[c])));
        }
      }
    });
  });
}

void gate_blend_backward(const Tensor& gate, const Tensor& u, const Tensor& z, const Tensor& dy,
                         const GradTarget& dgate, const GradTarget& du, const GradTarget& dz) {
  dispatch_float(gate.dtype(), "gate_blend", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> p(gate);
    const Rows<T> a(u);
    const Rows<T> b(z);
    const Rows<T> up(dy);
    const Rows<T> dp(dgate.tensor);
    const Rows<T> da(du.tensor);
    const Rows<T> db(dz.tensor);
    parallel_rows(p.count, rows_per_task(p.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        // to[c] (+)= dy[c] factor(sigmoid(gate[c]), c)
        const auto pass = [&](const Rows<T>& target, bool add, const auto& factor) {
          if (!target) return;
          const T* pr = p[r];
          const T* g = up[r];
          T* to = target[r];
#pragma omp simd
          for (std::int64_t c = 0; c < p.width; ++c) {
            const A value = A(g[c]) * factor(sigmoid_value(A(pr[c])), c);
            put(to[c], add, value);
          }
        };
        const T* ar = a[r];
        const T* br = b[r];
        pass(dp, dgate.add, [&](A s, std::int64_t c) { return (A(ar[c]) - A(br[c])) * s * (A(1) - s); });
        pass(da, du.add, [](A s, std::int64_t) { return s; });
        pass(db, dz.add, [](A s, std::int64_t) { return A(1) - s; });
      }
    });
  });
}

}  // namespace mixgrad::cpu
