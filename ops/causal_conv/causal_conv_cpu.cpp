// Tasks are (block of tokens, head); channels are innermost. A block of the backward computes p and dp of its tokens
// and of the W-1 behind them once into scratch, then takes all three gradients from there.
#include <cstring>

#include "core/scratch.h"
#include "ops/causal_conv/causal_conv_blocks.h"
#include "ops/causal_conv/causal_conv_kernels.h"
#include "ops/elementwise/functions.h"
#include "ops/support/row_tasks.h"
#include "ops/support/target.h"

namespace mixgrad::cpu {
namespace {

constexpr std::int64_t kTokens = kConvTaskTokens;

// The inputs as rows of one head: token t of sequence b is x[(b T + t) R + head].
template <class T>
struct ConvInputs {
  using A = acc_t<T>;

  Rows<T> x;
  Rows<T> history;  // [B,W-1,R] rows
  Tensor taps;      // [R,W+1,C] in the accumulation type: the taps, and the bias last
  std::int64_t steps, heads, channels, width;

  ConvInputs(const Tensor& x_in, const Tensor& weight, const Tensor& bias, const Tensor& history_in)
      : x(x_in),
        history(history_in),
        taps(Tensor::empty({x_in.dim(2), weight.dim(2) + 1, x_in.dim(3)}, dtype_of<A>())),
        steps(x_in.dim(1)),
        heads(x_in.dim(2)),
        channels(x_in.dim(3)),
        width(weight.dim(2)) {
    for (std::int64_t h = 0; h < heads; ++h) {
      for (std::int64_t c = 0; c < channels; ++c) {
        const std::int64_t channel = h * channels + c;
        for (std::int64_t w = 0; w < width; ++w) tap(h, w)[c] = weight.data<A>()[channel * width + w];
        tap(h, width)[c] = bias.data<A>()[channel];
      }
    }
  }

  A* tap(std::int64_t head, std::int64_t w) const { return taps.data<A>() + (head * (width + 1) + w) * channels; }
  // The input of token t of a sequence, also before its start; null for zeros.
  const T* input(std::int64_t sequence, std::int64_t t, std::int64_t head) const {
    if (t >= 0) return x[(sequence * steps + t) * heads + head];
    if (!history) return nullptr;
    return history[(sequence * (width - 1) + t + width - 1) * heads + head];
  }
  // p[c] of token `token` (counted over all sequences)
  void filter(std::int64_t token, std::int64_t head, A* p) const {
    std::memcpy(p, tap(head, width), static_cast<std::size_t>(channels) * sizeof(A));
    for (std::int64_t w = 0; w < width; ++w) {
      const T* in = input(token / steps, token % steps - (width - 1) + w, head);
      if (in == nullptr) continue;
      const A* factor = tap(head, w);
#pragma omp simd
      for (std::int64_t c = 0; c < channels; ++c) p[c] += factor[c] * A(in[c]);
    }
  }
};

// dweight and dbias of one head from the sums [W+1,C] of the blocks, `stride` apart, in order.
template <class A>
void add_blocks(A* sums, std::int64_t blocks, std::int64_t stride, std::int64_t channels, std::int64_t width,
                std::int64_t head, const GradTarget& dweight, const GradTarget& dbias) {
  for (std::int64_t i = 1; i < blocks; ++i) {
    for (std::int64_t c = 0; c < (width + 1) * channels; ++c) sums[c] += sums[i * stride + c];
  }
  for (std::int64_t c = 0; c < channels; ++c) {
    if (dweight.tensor.defined()) {
      A* to = dweight.tensor.data<A>() + (head * channels + c) * width;
      for (std::int64_t w = 0; w < width; ++w) put(to[w], dweight.add, sums[w * channels + c]);
    }
    if (dbias.tensor.defined()) put(dbias.tensor.data<A>()[head * channels + c], dbias.add, sums[width * channels + c]);
  }
}

}  // namespace

void causal_conv_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& history,
                         const Tensor& y) {
  dispatch_float(x.dtype(), "causal_conv", [&]<class T>() {
    using A = acc_t<T>;
    const ConvInputs<T> in(x, weight, bias, history);
    const Rows<T> out(y);
    const std::int64_t tokens = x.dim(0) * in.steps;
    const std::int64_t blocks = (tokens + kTokens - 1) / kTokens;
    parallel_for(blocks * in.heads, [&](std::int64_t task) {
      const std::int64_t head = task % in.heads;
      const std::int64_t begin = task / in.heads * kTokens;
      A* p = thread_scratch<A, 0>(in.channels);
      for (std::int64_t token = begin; token < std::min(tokens, begin + kTokens); ++token) {
        in.filter(token, head, p);
        T* to = out[token * in.heads + head];
#pragma omp simd
        for (std::int64_t c = 0; c < in.channels; ++c) assign(to[c], functions::Silu::f(p[c]));
      }
    });
  });
}

void causal_conv_backward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& dy,
                          const GradTarget& dx, const GradTarget& dweight, const GradTarget& dbias) {
  dispatch_float(x.dtype(), "causal_conv", [&]<class T>() {
    using A = acc_t<T>;
    const ConvInputs<T> in(x, weight, bias, Tensor());
    const Rows<T> up(dy);
    const Rows<T> out(dx.tensor);
    const std::int64_t channels = in.channels;
    const std::int64_t width = in.width;
    const std::int64_t tokens = x.dim(0) * in.steps;
    const std::int64_t blocks = (tokens + kTokens - 1) / kTokens;
    const std::int64_t size = (width + 1) * channels;
    const Tensor sums = Tensor::zeros({blocks, in.heads, size}, dtype_of<A>());
    parallel_for(blocks * in.heads, [&](std::int64_t task) {
      const std::int64_t head = task % in.heads;
      const std::int64_t begin = task / in.heads * kTokens;
      const std::int64_t end = std::min(tokens, begin + kTokens);
      A* dp = thread_scratch<A, 0>((kTokens + width) * channels);
      A* row = dp + (kTokens + width - 1) * channels;
      A* sum = sums.data<A>() + task * size;
      const std::int64_t last = std::min(tokens, end + width - 1);
      for (std::int64_t token = begin; token < last; ++token) {
        A* d = dp + (token - begin) * channels;
        in.filter(token, head, d);
        const T* g = up[token * in.heads + head];
#pragma omp simd
        for (std::int64_t c = 0; c < channels; ++c) d[c] = A(g[c]) * functions::Silu::df(d[c]);
      }
      for (std::int64_t token = begin; token < end; ++token) {
        const A* d = dp + (token - begin) * channels;
        const std::int64_t t = token % in.steps;
        for (std::int64_t c = 0; c < channels; ++c) sum[width * channels + c] += d[c];
        for (std::int64_t w = 0; w < width; ++w) {
          const T* from = in.input(token / in.steps, t - (width - 1) + w, head);
          if (from == nullptr) continue;
          A* to = sum + w * channels;
          for (std::int64_t c = 0; c < channels; ++c) to[c] += d[c] * A(from[c]);
        }
        if (!out) continue;
        std::fill_n(row, channels, A(0));
        for (std::int64_t w = std::max<std::int64_t>(0, t + width - in.steps); w < width; ++w) {
          const A* later = d + (width - 1 - w) * channels;
          const A* factor = in.tap(head, w);
          for (std::int64_t c = 0; c < channels; ++c) row[c] += factor[c] * later[c];
        }
        T* to = out[token * in.heads + head];
        for (std::int64_t c = 0; c < channels; ++c) put(to[c], dx.add, row[c]);
      }
    });
    parallel_for(in.heads, [&](std::int64_t head) {
      add_blocks(sums.data<A>() + head * size, blocks, in.heads * size, channels, width, head, dweight, dbias);
    });
  });
}

void causal_conv_keep(const Tensor& x, const Tensor& history) {
  dispatch_float(x.dtype(), "causal_conv", [&]<class T>() {
    const Rows<T> in(x);
    const Rows<T> kept(history);
    const std::int64_t steps = x.dim(1);
    const std::int64_t heads = x.dim(2);
    const std::int64_t length = history.dim(1);
    const std::size_t bytes = static_cast<std::size_t>(x.cols()) * sizeof(T);
    for (std::int64_t b = 0; b < x.dim(0); ++b) {
      for (std::int64_t i = 0; i < length; ++i) {  // ascending: an entry is read before it is overwritten
        for (std::int64_t h = 0; h < heads; ++h) {
          const std::int64_t t = steps - length + i;  // of this piece; before it: what has been kept
          const T* from = t >= 0 ? in[(b * steps + t) * heads + h] : kept[(b * length + i + steps) * heads + h];
          std::memcpy(kept[(b * length + i) * heads + h], from, bytes);
        }
      }
    }
  });
}

}  // namespace mixgrad::cpu
