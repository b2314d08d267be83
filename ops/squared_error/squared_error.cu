#include "core/cuda/launch.cuh"
#include "ops/squared_error/squared_error_kernels.h"

namespace mixgrad::cuda {
namespace {

template <class T>
void forward(const Tensor& x, const Tensor& target, const Tensor& loss) {
  using A = acc_t<T>;
  const Rows<T> a(x);
  const Rows<T> b(target);
  const std::int64_t rows = a.count;
  const std::int64_t width = a.width;
  const Tensor sums = Tensor::empty({rows}, DType::f64, x.device());
  double* row_sums = sums.data<double>();
  for_each_row("squared_error", x.device(), rows, [=] __device__(std::int64_t r) {
    double sum = 0;
    for (std::int64_t c = threadIdx.x; c < width; c += kRowThreads) {
      const double difference = static_cast<double>(A(a[r][c])) - static_cast<double>(A(b[r][c]));
      sum += difference * difference;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) row_sums[r] = sum;
  });
  A* to = loss.data<A>();
  for_each_row("squared_error", x.device(), 1, [=] __device__(std::int64_t) {
    double total = 0;
    for (std::int64_t r = threadIdx.x; r < rows; r += kRowThreads) total += row_sums[r];
    total = block_sum(total);
    if (threadIdx.x == 0) *to = static_cast<A>(total / static_cast<double>(rows * width));
  });
}

template <class T>
void backward(const Tensor& x, const Tensor& target, const Tensor& dloss, const GradTarget& dx,
              const GradTarget& dtarget) {
  using A = acc_t<T>;
  const Target<T> to(dx.tensor, dx.add);
  const Target<T> to_target(dtarget.tensor, dtarget.add);
  const Rows<T> a(x);
  const Rows<T> b(target);
  const A* up = dloss.data<A>();
  const A each = A(2) / static_cast<A>(x.numel());
  for_each_cell("squared_error", x.device(), a.count, a.width, [=] __device__(std::int64_t r, std::int64_t c) {
    const A value = *up * each * (A(a[r][c]) - A(b[r][c]));
    if (to) to.put(r, c, value);
    if (to_target) to_target.put(r, c, -value);
  });
}

}  // namespace

void squared_error_forward(const Tensor& x, const Tensor& target, const Tensor& loss) {
  dispatch_float(x.dtype(), "squared_error", [&]<class T>() { forward<T>(x, target, loss); });
}

void squared_error_backward(const Tensor& x, const Tensor& target, const Tensor& dloss, const GradTarget& dx,
                            const GradTarget& dtarget) {
  dispatch_float(x.dtype(), "squared_error", [&]<class T>() { backward<T>(x, target, dloss, dx, dtarget); });
}

}  // namespace mixgrad::cuda
