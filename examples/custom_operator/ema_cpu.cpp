// Tasks are (sequence, block of channels), so the result does not depend on the number of threads. Averages and sums
// are in the accumulation type: f32 for bf16.
#include <algorithm>

#include "core/parallel.h"
#include "core/rows.h"
#include "core/scratch.h"
#include "ema_kernels.h"

namespace mixgrad::cpu {
namespace {

constexpr std::int64_t kBlock = ema::kChannelsOfTask;

// task(sequence, first channel, channels)
template <class Task>
void for_each_block(const Tensor& x, const Task& task) {
  const std::int64_t channels = x.dim(2);
  const std::int64_t blocks = (channels + kBlock - 1) / kBlock;
  parallel_for(x.dim(0) * blocks, [&](std::int64_t i) {
    const std::int64_t first = i % blocks * kBlock;
    task(i / blocks, first, std::min(kBlock, channels - first));
  });
}

}  // namespace

void ema_forward(const Tensor& x, const Tensor& gate, const Tensor& state, const Tensor& y) {
  dispatch_float(x.dtype(), "ema", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> in(x);
    const Rows<T> out(y);
    const Rows<A> kept(state);
    const std::int64_t steps = x.dim(1);
    for_each_block(x, [&](std::int64_t sequence, std::int64_t first, std::int64_t channels) {
      A g[kBlock];
      A mean[kBlock];
      for (std::int64_t c = 0; c < channels; ++c) {
        g[c] = sigmoid_value(gate.data<A>()[first + c]);
        mean[c] = kept ? kept[sequence][first + c] : A(0);
      }
      for (std::int64_t t = 0; t < steps; ++t) {
        const T* from = in[sequence * steps + t] + first;
        T* to = out[sequence * steps + t] + first;
        for (std::int64_t c = 0; c < channels; ++c) {
          mean[c] += (A(1) - g[c]) * (A(from[c]) - mean[c]);
          assign(to[c], mean[c]);
        }
      }
      if (kept) std::copy_n(mean, channels, kept[sequence] + first);
    });
  });
}

void ema_backward(const Tensor& x, const Tensor& gate, const Tensor& dy, const GradTarget& dx,
                  const GradTarget& dgate) {
  dispatch_float(x.dtype(), "ema", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> in(x);
    const Rows<T> up(dy);
    const Rows<T> out(dx.tensor);
    const std::int64_t batch = x.dim(0);
    const std::int64_t steps = x.dim(1);
    const std::int64_t width = x.dim(2);
    const Tensor sums = Tensor::empty({batch, width}, dtype_of<A>());  // of each sequence, added up in their order
    for_each_block(x, [&](std::int64_t sequence, std::int64_t first, std::int64_t channels) {
      A* before = thread_scratch<A, 0>((steps + 1) * channels);  // y[t-1], [T+1,channels]
      A g[kBlock];
      A e[kBlock] = {};
      A sum[kBlock] = {};
      for (std::int64_t c = 0; c < channels; ++c) {
        g[c] = sigmoid_value(gate.data<A>()[first + c]);
        before[c] = 0;
      }
      for (std::int64_t t = 0; t < steps; ++t) {
        const T* from = in[sequence * steps + t] + first;
        A* mean = before + t * channels;
        for (std::int64_t c = 0; c < channels; ++c) {
          mean[channels + c] = mean[c] + (A(1) - g[c]) * (A(from[c]) - mean[c]);
        }
      }
      for (std::int64_t t = steps - 1; t >= 0; --t) {
        const std::int64_t row = sequence * steps + t;
        const T* from = in[row] + first;
        const T* dy_row = up[row] + first;
        for (std::int64_t c = 0; c < channels; ++c) {
          e[c] = A(dy_row[c]) + g[c] * e[c];
          sum[c] += e[c] * (before[t * channels + c] - A(from[c]));
        }
        if (!out) continue;
        T* to = out[row] + first;
        for (std::int64_t c = 0; c < channels; ++c) {
          const A value = (A(1) - g[c]) * e[c];
          assign(to[c], dx.add ? A(to[c]) + value : value);
        }
      }
      for (std::int64_t c = 0; c < channels; ++c) {
        sums.data<A>()[sequence * width + first + c] = g[c] * (A(1) - g[c]) * sum[c];
      }
    });
    if (!dgate.tensor.defined()) return;
    A* to = dgate.tensor.data<A>();
    for (std::int64_t c = 0; c < width; ++c) {
      A total = 0;
      for (std::int64_t b = 0; b < batch; ++b) total += sums.data<A>()[b * width + c];
      to[c] = dgate.add ? to[c] + total : total;
    }
  });
}

}  // namespace mixgrad::cpu
