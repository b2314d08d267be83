#include "ops/squared_error/squared_error_kernels.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {

void squared_error_forward(const Tensor& x, const Tensor& target, const Tensor& loss) {
  dispatch_float(x.dtype(), "squared_error", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> a(x);
    const Rows<T> b(target);
    const Tensor sums = Tensor::empty({a.count}, DType::f64);
    double* row_sums = sums.data<double>();
    parallel_rows(a.count, rows_per_task(a.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T* from = a[r];
        const T* wanted = b[r];
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t c = 0; c < a.width; ++c) {
          const double difference = static_cast<double>(A(from[c])) - static_cast<double>(A(wanted[c]));
          sum += difference * difference;
        }
        row_sums[r] = sum;
      }
    });
    double total = 0;
    for (std::int64_t r = 0; r < a.count; ++r) total += row_sums[r];
    *loss.data<A>() = static_cast<A>(total / static_cast<double>(x.numel()));
  });
}

void squared_error_backward(const Tensor& x, const Tensor& target, const Tensor& dloss, const GradTarget& dx,
                            const GradTarget& dtarget) {
  dispatch_float(x.dtype(), "squared_error", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> a(x);
    const Rows<T> b(target);
    const Rows<T> to(dx.tensor);
    const Rows<T> to_target(dtarget.tensor);
    const A scale = *dloss.data<A>() * A(2) / static_cast<A>(x.numel());
    parallel_rows(a.count, rows_per_task(a.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T* from = a[r];
        const T* wanted = b[r];
        const auto pass = [&](const Rows<T>& target_rows, bool add, A factor) {
          if (!target_rows) return;
          T* out = target_rows[r];
#pragma omp simd
          for (std::int64_t c = 0; c < a.width; ++c) {
            const A value = factor * (A(from[c]) - A(wanted[c]));
            put(out[c], add, value);
          }
        };
        pass(to, dx.add, scale);
        pass(to_target, dtarget.add, -scale);
      }
    });
  });
}

}  // namespace mixgrad::cpu
