// Two implementations of the same formulas: element by element, for any number of taps and channels, and by stretches
// of time (causal_conv_stretches.cuh), which takes what stretches::takes says.
#include "core/cuda/launch.cuh"
#include "ops/causal_conv/causal_conv_inputs.cuh"
#include "ops/causal_conv/causal_conv_kernels.h"
#include "ops/causal_conv/causal_conv_stretches.cuh"
#include "ops/elementwise/functions.h"

namespace mixgrad::cuda {
namespace {

template <class T>
void forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& history, const Tensor& y) {
  const ConvInputs<T> in(x, weight, bias, history);
  if (stretches::takes(in, {&x, &history, &y})) return stretches::forward(in, y);
  const Rows<T> out(y);
  for_each_cell("causal_conv", x.device(), x.numel() / in.channels, in.channels,
                [=] __device__(std::int64_t r, std::int64_t c) {
                  out[r][c] = static_cast<T>(functions::Silu::f(in.filter(r, c)));
                });
}

// dp [B,T,R,C] = dy silu'(p)
template <class T>
void before_silu(const ConvInputs<T>& in, const Tensor& dy, const Tensor& dp) {
  using A = acc_t<T>;
  const Rows<T> up(dy);
  A* to = dp.data<A>();
  for_each_cell("causal_conv", dy.device(), dy.numel() / in.channels, in.channels,
                [=] __device__(std::int64_t r, std::int64_t c) {
                  to[r * in.channels + c] = A(up[r][c]) * functions::Silu::df(in.filter(r, c));
                });
}

template <class T>
void backward_x(const ConvInputs<T>& in, const Tensor& dp, const GradTarget& dx) {
  using A = acc_t<T>;
  const Target<T> out(dx.tensor, dx.add);
  const A* d = dp.data<A>();
  for_each_cell("causal_conv", dp.device(), dp.numel() / in.channels, in.channels,
                [=] __device__(std::int64_t r, std::int64_t c) {
                  const std::int64_t t = r / in.heads % in.steps;
                  A sum = 0;
                  for (std::int64_t w = 0; w < in.width; ++w) {
                    const std::int64_t later = in.width - 1 - w;
                    if (t + later >= in.steps) continue;
                    sum += in.weight[(r % in.heads * in.channels + c) * in.width + w] *
                           d[(r + later * in.heads) * in.channels + c];
                  }
                  out.put(r, c, sum);
                });
}

// Column (channel, w) of the sums is tap w of a channel, and column (channel, W) its bias.
template <class T>
void backward_parameters(const ConvInputs<T>& in, const Tensor& dp, const GradTarget& dweight,
                         const GradTarget& dbias) {
  using A = acc_t<T>;
  const A* d = dp.data<A>();
  A* to_weight = dweight.tensor.defined() ? dweight.tensor.data<A>() : nullptr;
  A* to_bias = dbias.tensor.defined() ? dbias.tensor.data<A>() : nullptr;
  const bool add_weight = dweight.add;
  const bool add_bias = dbias.add;
  const std::int64_t all_channels = in.heads * in.channels;
  const std::int64_t width = in.width;
  column_sums<A>(
      "causal_conv", dp.device(), dp.dim(0) * dp.dim(1), all_channels * (width + 1),
      [=] __device__(std::int64_t token, std::int64_t column) {
        const std::int64_t channel = column % all_channels;
        const std::int64_t w = column / all_channels;
        const A g = d[token * all_channels + channel];
        if (w == width) return g;
        return g * in.input(token / in.steps, token % in.steps - (width - 1) + w, channel / in.channels,
                            channel % in.channels);
      },
      [=] __device__(std::int64_t column, A sum) {
        const std::int64_t channel = column % all_channels;
        const std::int64_t w = column / all_channels;
        A* to = w == width ? to_bias : to_weight;
        if (to == nullptr) return;
        A& element = to[w == width ? channel : channel * width + w];
        element = (w == width ? add_bias : add_weight) ? element + sum : sum;
      });
}

template <class T>
void backward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& dy, const GradTarget& dx,
              const GradTarget& dweight, const GradTarget& dbias) {
  const ConvInputs<T> in(x, weight, bias, Tensor());
  if (stretches::takes(in, {&x, &dy, &dx.tensor})) return stretches::backward(in, dy, dx, dweight, dbias);
  const Tensor dp = Tensor::empty(x.shape(), dtype_of<acc_t<T>>(), x.device());
  before_silu<T>(in, dy, dp);
  if (dx.tensor.defined()) backward_x<T>(in, dp, dx);
  if (dweight.tensor.defined() || dbias.tensor.defined()) backward_parameters<T>(in, dp, dweight, dbias);
}

// A thread owns one channel of one head and sequence; ascending: an entry is read before it is overwritten.
template <class T>
void keep(const Tensor& x, const Tensor& history) {
  const Rows<T> in(x);
  const Rows<T> kept(history);
  const std::int64_t steps = x.dim(1);
  const std::int64_t heads = x.dim(2);
  const std::int64_t channels = x.dim(3);
  const std::int64_t length = history.dim(1);
  for_each("causal_conv", x.device(), x.dim(0) * heads * channels, [=] __device__(std::int64_t item) {
    const std::int64_t c = item % channels;
    const std::int64_t h = item / channels % heads;
    const std::int64_t b = item / channels / heads;
    for (std::int64_t i = 0; i < length; ++i) {
      const std::int64_t t = steps - length + i;  // of this piece; before it: what has been kept
      const T* from = t >= 0 ? in[(b * steps + t) * heads + h] : kept[(b * length + i + steps) * heads + h];
      kept[(b * length + i) * heads + h][c] = from[c];
    }
  });
}

}  // namespace

void causal_conv_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& history,
                         const Tensor& y) {
  dispatch_float(x.dtype(), "causal_conv", [&]<class T>() { forward<T>(x, weight, bias, history, y); });
}

void causal_conv_backward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& dy,
                          const GradTarget& dx, const GradTarget& dweight, const GradTarget& dbias) {
  dispatch_float(x.dtype(), "causal_conv", [&]<class T>() { backward<T>(x, weight, bias, dy, dx, dweight, dbias); });
}

void causal_conv_keep(const Tensor& x, const Tensor& history) {
  dispatch_float(x.dtype(), "causal_conv", [&]<class T>() { keep<T>(x, history); });
}

}  // namespace mixgrad::cuda
