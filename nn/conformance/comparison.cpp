#include "nn/conformance/comparison.h"

#include <algorithm>
#include <cmath>

namespace mixgrad {

Tolerance tolerance_for(DType precision) {
  if (precision == DType::f64) return {1e-9, 1e-9, 1e-9, 1e-9, 1e-9};
  if (precision == DType::bf16) return {3e-2, 3e-2, 0.1, INFINITY, INFINITY};
  return {2e-5, 1e-5, 1e-4, 1e-5, 3e-4};
}

void Squares::add(const Tensor& computed, const Tensor& wanted) {
  const Tensor x = computed.to(kCpu);
  for (std::int64_t i = 0; i < wanted.numel(); ++i) {
    const double d = x.at(i) - wanted.at(i);
    difference += d * d;
    reference += wanted.at(i) * wanted.at(i);
  }
}

double Squares::error() const {
  if (!std::isfinite(difference) || !std::isfinite(reference)) return INFINITY;
  return std::sqrt(reference > 0 ? difference / reference : difference);
}

double relative_error(const Tensor& computed, const Tensor& reference, RowRange skipped) {
  const Tensor x = computed.to(kCpu);
  const std::int64_t row = reference.numel() / std::max<std::int64_t>(1, reference.dim(0));
  double worst = 0;
  double largest = 0;
  for (std::int64_t i = 0; i < reference.numel(); ++i) {
    if (!std::isfinite(reference.at(i))) return INFINITY;
    largest = std::max(largest, std::abs(reference.at(i)));
    if (i >= skipped.begin * row && i < skipped.end * row) continue;
    const double error = std::abs(x.at(i) - reference.at(i));
    worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
  }
  return largest > 0 ? worst / largest : worst;
}

double tensor_error(const Tensor& computed, const Tensor& reference, DType precision) {
  if (precision != DType::bf16) return relative_error(computed, reference);
  Squares squares;
  squares.add(computed, reference);
  return squares.error();
}

}  // namespace mixgrad
