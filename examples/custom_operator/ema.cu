// One thread computes one channel of one sequence, step by step in time. The kernels are function templates because
// nvcc accepts no device lambda inside a generic lambda.
#include "core/cuda/launch.cuh"
#include "ema_kernels.h"

namespace mixgrad::cuda {
namespace {

template <class T>
void forward(const Tensor& x, const Tensor& gate, const Tensor& state, const Tensor& y) {
  using A = acc_t<T>;
  const Rows<T> in(x);
  const Rows<T> out(y);
  const A* gates = gate.data<A>();
  A* kept = state.defined() ? state.data<A>() : nullptr;
  const std::int64_t steps = x.dim(1);
  const std::int64_t channels = x.dim(2);
  for_each("ema", x.device(), x.dim(0) * channels, [=] __device__(std::int64_t i) {
    const std::int64_t c = i % channels;
    const std::int64_t first = i / channels * steps;
    const A g = sigmoid_value(gates[c]);
    A mean = kept == nullptr ? A(0) : kept[i];
    for (std::int64_t row = first; row < first + steps; ++row) {
      mean += (A(1) - g) * (A(in[row][c]) - mean);
      out[row][c] = static_cast<T>(mean);
    }
    if (kept != nullptr) kept[i] = mean;
  });
}

template <class T>
void backward(const Tensor& x, const Tensor& gate, const Tensor& dy, const GradTarget& dx, const GradTarget& dgate) {
  using A = acc_t<T>;
  const Rows<T> in(x);
  const Rows<T> up(dy);
  const Target<T> to(dx.tensor, dx.add);
  const A* gates = gate.data<A>();
  const std::int64_t steps = x.dim(1);
  const std::int64_t channels = x.dim(2);
  const Tensor averages = Tensor::empty(x.shape(), dtype_of<A>(), x.device());
  const Tensor sums = Tensor::empty({x.dim(0), channels}, dtype_of<A>(), x.device());
  A* mean = averages.data<A>();
  A* sum = sums.data<A>();
  for_each("ema", x.device(), x.dim(0) * channels, [=] __device__(std::int64_t i) {
    const std::int64_t c = i % channels;
    const std::int64_t first = i / channels * steps;
    const A g = sigmoid_value(gates[c]);
    A before = 0;
    for (std::int64_t row = first; row < first + steps; ++row) {
      before += (A(1) - g) * (A(in[row][c]) - before);
      mean[row * channels + c] = before;
    }
    A e = 0;
    A total = 0;
    for (std::int64_t row = first + steps - 1; row >= first; --row) {
      e = A(up[row][c]) + g * e;
      total += e * ((row > first ? mean[(row - 1) * channels + c] : A(0)) - A(in[row][c]));
      if (to) to.put(row, c, (A(1) - g) * e);
    }
    sum[i] = g * (A(1) - g) * total;
  });
  if (!dgate.tensor.defined()) return;
  A* gradient = dgate.tensor.data<A>();
  const bool add = dgate.add;
  column_sums<A>(
      "ema", x.device(), x.dim(0), channels,
      [=] __device__(std::int64_t b, std::int64_t c) { return sum[b * channels + c]; },
      [=] __device__(std::int64_t c, A total) { gradient[c] = add ? gradient[c] + total : total; });
}

}  // namespace

void ema_forward(const Tensor& x, const Tensor& gate, const Tensor& state, const Tensor& y) {
  dispatch_float(x.dtype(), "ema", [&]<class T>() { forward<T>(x, gate, state, y); });
}

void ema_backward(const Tensor& x, const Tensor& gate, const Tensor& dy, const GradTarget& dx,
                  const GradTarget& dgate) {
  dispatch_float(x.dtype(), "ema", [&]<class T>() { backward<T>(x, gate, dy, dx, dgate); });
}

}  // namespace mixgrad::cuda
