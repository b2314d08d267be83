// Counter-based random numbers, drawn on the host (core/numeric/philox.h; kernels use the function itself).
// The state is (seed, counter): two integers that a checkpoint keeps, and the same bits on every device.
#pragma once

#include <array>
#include <cstdint>

#include "core/tensor.h"

namespace mixgrad {

class Rng {
 public:
  explicit Rng(std::uint64_t seed, std::uint64_t counter = 0) : seed_(seed), counter_(counter) {}

  std::uint64_t seed() const { return seed_; }
  std::uint64_t counter() const { return counter_; }

  std::array<std::uint32_t, 4> next();       // 128 random bits; advances the counter by one
  double uniform();                          // in [0, 1), 53 random bits
  std::uint64_t below(std::uint64_t bound);  // in [0, bound), without bias; bound >= 1
  void fill_uniform(const Tensor& tensor, double low, double high);
  void fill_normal(const Tensor& tensor, double mean, double deviation);  // Box-Muller, drawn on the host in f64

 private:
  std::uint64_t seed_;
  std::uint64_t counter_;
};

}  // namespace mixgrad
