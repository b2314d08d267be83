#include "nn/evaluation/target_losses.h"

#include <algorithm>
#include <cmath>

#include "core/dispatch/dispatch.h"
#include "core/error.h"
#include "core/parallel.h"

namespace mixgrad {
namespace {

template <class T>
TargetLoss target_loss(const T* row, std::int64_t vocab_size, std::int32_t target) {
  const auto at = [&](std::int64_t v) { return static_cast<double>(static_cast<acc_t<T>>(row[v])); };
  double top = at(0);
  for (std::int64_t v = 1; v < vocab_size; ++v) top = std::max(top, at(v));
  double total = 0;
  for (std::int64_t v = 0; v < vocab_size; ++v) total += std::exp(at(v) - top);
  const double own = at(target);
  bool likeliest = own >= top;
  for (std::int64_t v = 0; v < target && likeliest; ++v) likeliest = at(v) < own;
  return {std::log(total) + (top - own), likeliest};
}

}  // namespace

std::vector<TargetLoss> target_losses(const Tensor& logits, std::span<const std::int32_t> targets) {
  const Tensor host = logits.to(kCpu);
  const std::int64_t vocab_size = host.cols();
  MIXGRAD_ASSERT(host.rows() == static_cast<std::int64_t>(targets.size()), "a target for each row of logits");
  std::vector<TargetLoss> losses(targets.size());
  dispatch_float(host.dtype(), "target losses", [&]<class T>() {
    parallel_for(host.rows(), [&](std::int64_t r) {
      const std::int32_t target = targets[static_cast<std::size_t>(r)];
      if (target < 0) return;
      MIXGRAD_ASSERT(target < vocab_size, "a target of the vocabulary");
      losses[static_cast<std::size_t>(r)] = target_loss(host.data<T>() + r * host.row_stride(), vocab_size, target);
    });
  });
  return losses;
}

std::int64_t rows_of_logits(std::int64_t batch, std::int64_t tokens, std::int64_t vocab_size) {
  constexpr std::int64_t kMost = std::int64_t{1} << 26U;  // logits
  return std::clamp<std::int64_t>(kMost / (tokens * vocab_size), 1, batch);
}

}  // namespace mixgrad
