#include "ops/embedding/embedding_blocks.h"
#include "ops/embedding/embedding_kernels.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {

void embedding_forward(const Tensor& tokens, const Tensor& weight, const Tensor& positions,
                       TokenPosition first_position, const Tensor& y) {
  dispatch_float(weight.dtype(), "embedding", [&]<class T>() {
    using A = acc_t<T>;
    const std::int32_t* ids = tokens.data<std::int32_t>();
    const std::int64_t steps = tokens.dim(1);
    const Rows<T> table(weight);
    const Rows<T> position_table(positions);
    const Rows<A> out(y);
    parallel_rows(out.count, rows_per_task(out.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T* from = table[ids[r]];
        A* to = out[r];
        if (position_table) {
          const T* position = position_table[first_position.host + r % steps];
          for (std::int64_t c = 0; c < out.width; ++c) to[c] = A(from[c]) + A(position[c]);
        } else {
          for (std::int64_t c = 0; c < out.width; ++c) to[c] = A(from[c]);
        }
      }
    });
  });
}

void embedding_backward(const Tensor& tokens, std::int64_t first_position, const Tensor& dy, const GradTarget& dweight,
                        const GradTarget& dpositions) {
  dispatch_float(dy.dtype(), "embedding", [&]<class T>() {
    using A = acc_t<T>;
    const std::int32_t* ids = tokens.data<std::int32_t>();
    const std::int64_t steps = tokens.dim(1);
    const Rows<T> up(dy);
    // A task owns a slice of channels and visits all tokens in order: no two tasks write to the same element.
    constexpr std::int64_t kChannels = kEmbeddingSliceChannels;
    const auto scatter = [&](const GradTarget& target, const auto& row_of) {
      if (!target.tensor.defined()) return;
      const Rows<A> to(target.tensor);
      parallel_for((up.width + kChannels - 1) / kChannels, [&](std::int64_t task) {
        const std::int64_t begin = task * kChannels;
        const std::int64_t end = std::min(up.width, begin + kChannels);
        if (!target.add) {
          for (std::int64_t v = 0; v < to.count; ++v) std::fill(to[v] + begin, to[v] + end, A(0));
        }
        for (std::int64_t r = 0; r < up.count; ++r) {
          A* sum = to[row_of(r)];
          const T* from = up[r];
          for (std::int64_t c = begin; c < end; ++c) sum[c] += A(from[c]);
        }
      });
    };
    scatter(dweight, [&](std::int64_t r) { return static_cast<std::int64_t>(ids[r]); });
    scatter(dpositions, [&](std::int64_t r) { return first_position + r % steps; });
  });
}

}  // namespace mixgrad::cpu
