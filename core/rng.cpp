#include "core/rng.h"

#include <Random123/philox.h>

#include <cmath>
#include <numbers>

#include "core/error.h"

namespace mixgrad {
namespace {

double to_unit(std::uint32_t high, std::uint32_t low) {
  const std::uint64_t bits = (static_cast<std::uint64_t>(high) << 32U | low) >> 11U;
  return static_cast<double>(bits) * 0x1p-53;
}

}  // namespace

std::array<std::uint32_t, 4> Rng::next() {
  r123::Philox4x32 philox;
  const r123::Philox4x32::ctr_type counter = {
      {static_cast<std::uint32_t>(counter_), static_cast<std::uint32_t>(counter_ >> 32U), 0, 0}};
  const r123::Philox4x32::key_type key = {
      {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32U)}};
  ++counter_;
  const auto bits = philox(counter, key);
  return {bits[0], bits[1], bits[2], bits[3]};
}

double Rng::uniform() {
  const auto bits = next();
  return to_unit(bits[0], bits[1]);
}

std::uint64_t Rng::below(std::uint64_t bound) {
  MIXGRAD_ASSERT(bound >= 1, "a bound of at least one");
  const std::uint64_t limit = UINT64_MAX - UINT64_MAX % bound;  // a multiple of bound
  for (;;) {
    const auto bits = next();
    const std::uint64_t value = static_cast<std::uint64_t>(bits[0]) << 32U | bits[1];
    if (value < limit) return value % bound;
  }
}

void Rng::fill_uniform(const Tensor& tensor, double low, double high) {
  for (std::int64_t i = 0; i < tensor.numel(); ++i) tensor.set(i, low + (high - low) * uniform());
}

void Rng::fill_normal(const Tensor& tensor, double mean, double deviation) {
  for (std::int64_t i = 0; i < tensor.numel(); i += 2) {
    const auto bits = next();
    const double radius = std::sqrt(-2.0 * std::log(1.0 - to_unit(bits[0], bits[1])));
    const double angle = 2.0 * std::numbers::pi * to_unit(bits[2], bits[3]);
    tensor.set(i, mean + deviation * radius * std::cos(angle));
    if (i + 1 < tensor.numel()) tensor.set(i + 1, mean + deviation * radius * std::sin(angle));
  }
}

}  // namespace mixgrad
