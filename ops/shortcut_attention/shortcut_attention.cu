// The kernels of ops/attention, in which a token brings as many rows of keys as there are sources; the depth form is a
// window of one token there.
#include "core/cuda/launch.cuh"
#include "core/numeric/vec_math.h"
#include "ops/attention/attention_kernels.h"
#include "ops/shortcut_attention/shortcut_attention_kernels.h"

namespace mixgrad::cuda {
namespace {

AttentionOptions attention_options(const ShortcutAttentionOptions& options) {
  return {options.heads, options.kv_heads, options.window, options.dropout};
}

// One block per (b, head, query): the largest score, then the sum of exponentials of each source.
template <class T>
void depth_mass(const Tensor& q, const Tensor& k, const ShortcutAttentionOptions& options, const Tensor& mass) {
  using A = acc_t<T>;
  const Rows<T> queries(q);
  const Rows<T> keys(k);
  const std::int64_t steps = q.dim(1);
  const std::int64_t capacity = k.dim(1);
  const std::int64_t sources = options.sources;
  const std::int64_t past = capacity / sources - steps;
  const std::int64_t heads = options.heads;
  const std::int64_t per_group = options.heads / options.kv_heads;
  const std::int64_t dh = q.cols() / options.heads;
  const std::int64_t window = options.window;
  const A scale = A(1) / std::sqrt(A(dh));
  A* masses = mass.data<A>();
  for_each_row("shortcut_depth_mass", q.device(), q.dim(0) * heads * steps, [=] __device__(std::int64_t row) {
    const std::int64_t i = row % steps;
    const std::int64_t head = row / steps % heads;
    const std::int64_t b = row / steps / heads;
    const T* query = queries[b * steps + i] + head * dh;
    const std::int64_t oldest = window > 0 && past + i - window + 1 > 0 ? past + i - window + 1 : 0;
    const std::int64_t tokens = past + i + 1 - oldest;
    const auto score = [&](std::int64_t token, std::int64_t m) {
      const T* key = keys[b * capacity + (oldest + token) * sources + m] + head / per_group * dh;
      A sum = 0;
      for (std::int64_t c = 0; c < dh; ++c) sum += A(query[c]) * A(key[c]);
      return sum * scale;
    };
    A top = score(0, 0);
    for (std::int64_t n = threadIdx.x; n < tokens * sources; n += kRowThreads) {
      const A value = score(n / sources, n % sources);
      top = value > top ? value : top;
    }
    top = block_max(top);
    A* to = masses + row * sources;
    A total = 0;
    for (std::int64_t m = 0; m < sources; ++m) {
      A sum = 0;
      for (std::int64_t n = threadIdx.x; n < tokens; n += kRowThreads) sum += exp_value(score(n, m) - top);
      sum = block_sum(sum);
      total += sum;
      if (threadIdx.x == 0) to[m] = sum;
    }
    if (threadIdx.x != 0) return;
    for (std::int64_t m = 0; m < sources; ++m) to[m] /= total;
  });
}

}  // namespace

void shortcut_attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length,
                                const ShortcutAttentionOptions& options, const Tensor& out, const Tensor& lse) {
  attention_forward(q, k, v, length, options.sources, attention_options(options), out, lse);
}

void shortcut_attention_step(const Tensor& q, const Tensor& k, const Tensor& v, TokenPosition position,
                             const ShortcutAttentionOptions& options, const Tensor& out) {
  attention_step(q, k, v, position, options.sources, attention_options(options), out);
}

void shortcut_attention_backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                                 const Tensor& lse, const Tensor& dout, const ShortcutAttentionOptions& options,
                                 const GradTarget& dq, const GradTarget& dk, const GradTarget& dv) {
  attention_backward(q, k, v, out, lse, dout, options.sources, attention_options(options), dq, dk, dv);
}

void shortcut_depth_mass(const Tensor& q, const Tensor& k, const ShortcutAttentionOptions& options,
                         const Tensor& mass) {
  dispatch_float(q.dtype(), "shortcut_depth_mass", [&]<class T>() { depth_mass<T>(q, k, options, mass); });
}

}  // namespace mixgrad::cuda
