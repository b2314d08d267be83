// attention_profile on CUDA: plain loops, a block of threads for each head of each sequence.
#include "core/cuda/launch.cuh"
#include "core/numeric/vec_math.h"
#include "ops/attention/attention_kernels.h"
#include "ops/attention/attention_sizes.cuh"

namespace mixgrad::cuda {
namespace {

constexpr int kMostColumns = 2 + 64;  // a distance has at most 63 bits

// A thread takes every kRowThreads-th query.
template <class T>
void profile_of_heads(const Tensor& q, const Tensor& k, const Tensor& lse, const AttentionSizes& s,
                      const Tensor& profile) {
  using A = acc_t<T>;
  const HeadRows<const T> queries(q, s.head_dim);
  const HeadRows<const T> keys(k, s.head_dim);
  const A* lses = lse.data<A>();
  A* to = profile.data<A>();
  const A scale = A(1) / std::sqrt(A(s.head_dim));
  const auto columns = static_cast<int>(profile.cols());
  for_each_row("attention_profile", q.device(), s.batch * s.heads, [=] __device__(std::int64_t row) {
    const std::int64_t b = row / s.heads;
    const std::int64_t head = row % s.heads;
    const std::int64_t group = head / (s.heads / s.kv_heads);
    double sums[kMostColumns] = {};
    for (std::int64_t i = threadIdx.x; i < s.queries; i += kRowThreads) {
      const std::int64_t at = s.past + i;
      const A shift = lses[row * s.queries + i];
      for (std::int64_t j = s.first_key(i); j <= at; ++j) {
        A score = 0;
        for (std::int64_t c = 0; c < s.head_dim; ++c) {
          score += A(queries.at(b, i, head)[c]) * A(keys.at(b, j, group)[c]);
        }
        const A log_p = score * scale - shift;
        const auto p = static_cast<double>(exp_value(log_p));
        if (j == 0) sums[0] += p;
        if (p > 0) sums[1] -= p * static_cast<double>(log_p);
        sums[2 + (64 - __clzll(static_cast<long long>(at - j)))] += p;
      }
    }
    for (int c = 0; c < columns; ++c) {
      const double total = block_sum(sums[c]);
      if (threadIdx.x == 0) to[row * columns + c] = static_cast<A>(total);
      __syncthreads();
    }
  });
}

}  // namespace

void attention_profile(const Tensor& q, const Tensor& k, const Tensor& lse, const AttentionOptions& options,
                       const Tensor& profile) {
  const AttentionSizes s(q, k.dim(1), 1, options);
  dispatch_float(q.dtype(), "attention_profile", [&]<class T>() { profile_of_heads<T>(q, k, lse, s, profile); });
}

}  // namespace mixgrad::cuda
