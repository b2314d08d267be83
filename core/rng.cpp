#include "core/rng.h"

#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/numeric/philox.h"

namespace mixgrad {

std::array<std::uint32_t, 4> Rng::next() {
  const RandomBits bits = random_bits(seed_, counter_++);
  return {bits.words[0], bits.words[1], bits.words[2], bits.words[3]};
}

double Rng::uniform() { return unit_interval(random_bits(seed_, counter_++).first64()); }

std::uint64_t Rng::below(std::uint64_t bound) {
  MIXGRAD_ASSERT(bound >= 1, "a bound of at least one");
  const std::uint64_t limit = UINT64_MAX - UINT64_MAX % bound;  // a multiple of bound
  for (;;) {
    const std::uint64_t value = random_bits(seed_, counter_++).first64();
    if (value < limit) return value % bound;
  }
}

void Rng::fill_uniform(const Tensor& tensor, double low, double high) {
  for (std::int64_t i = 0; i < tensor.numel(); ++i) tensor.set(i, low + (high - low) * uniform());
}

void Rng::fill_normal(const Tensor& tensor, double mean, double deviation) {
  for (std::int64_t i = 0; i < tensor.numel(); i += 2) {
    const RandomBits bits = random_bits(seed_, counter_++);
    const double radius = std::sqrt(-2.0 * std::log(1.0 - unit_interval(bits.first64())));
    const double angle = 2.0 * std::numbers::pi * unit_interval(bits.second64());
    tensor.set(i, mean + deviation * radius * std::cos(angle));
    if (i + 1 < tensor.numel()) tensor.set(i + 1, mean + deviation * radius * std::sin(angle));
  }
}

}  // namespace mixgrad
