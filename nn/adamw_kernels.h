// The two passes of AdamW (nn/adamw.h) over flat buffers, for both devices.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace mixgrad {

// At most kAdamWBlock elements of one parameter: the unit of work, and of the ordered sum of the norm.
struct AdamWBlock {
  std::int64_t begin, end;  // in the flat buffers
  bool trainable;           // false: its gradient does not count, and nothing of it is written
  bool decay;
};
inline constexpr std::int64_t kAdamWBlock = 16384;

struct AdamWStep {
  double scale;  // of the gradient
  double beta1, beta2;
  double rate;      // learning rate / (1 - beta1^t)
  double inverse2;  // 1 / (1 - beta2^t)
  double eps;
  double keep;  // 1 - learning rate * weight decay, where a block decays
};

namespace cpu {
double adamw_norm(const Tensor& gradient, const std::vector<AdamWBlock>& blocks, std::vector<double>& sums);
void adamw_update(const Tensor& gradient, const std::vector<AdamWBlock>& blocks, const AdamWStep& step,
                  const Tensor& parameters, const Tensor& m, const Tensor& v);
}  // namespace cpu

namespace cuda {
double adamw_norm(const Tensor& gradient, const std::vector<AdamWBlock>& blocks, std::vector<double>& sums);
void adamw_update(const Tensor& gradient, const std::vector<AdamWBlock>& blocks, const AdamWStep& step,
                  const Tensor& parameters, const Tensor& m, const Tensor& v);
}  // namespace cuda

}  // namespace mixgrad
