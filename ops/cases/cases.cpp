#include "ops/cases/cases.h"

#include <array>
#include <cmath>

#include "core/rng.h"

namespace mixgrad::test {

std::span<const NamedCases> all_cases() {
  static constexpr std::array kCases = {
#define OP(name, folder) NamedCases{OpId::name, name##_cases},
#include "ops/op_list.def"
#undef OP
  };
  return kCases;
}

Tensor random_tensor(const Shape& shape, std::uint64_t seed) {
  Tensor tensor = Tensor::empty(shape, DType::f64);
  Rng rng(seed);
  rng.fill_normal(tensor, 0, 1);
  return tensor;
}

Tensor random_away_from_zero(const Shape& shape, std::uint64_t seed) {
  Tensor tensor = random_tensor(shape, seed);
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    const double x = tensor.at(i);
    tensor.set(i, x + std::copysign(0.05, x));
  }
  return tensor;
}

Tensor random_tokens(const Shape& shape, std::int32_t vocabulary, std::uint64_t seed) {
  Tensor tokens = Tensor::empty(shape, DType::i32);
  Rng rng(seed);
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    tokens.set(i, static_cast<double>(rng.below(static_cast<std::uint64_t>(vocabulary))));
  }
  return tokens;
}

}  // namespace mixgrad::test
