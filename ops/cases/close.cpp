#include "ops/cases/close.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <vector>

#include "core/error.h"
#include "core/numeric/unsigned_nan.h"

namespace mixgrad::test {

double largest_of(const Tensor& tensor) {
  double largest = 0;
  for (const double v : tensor.to_vector()) largest = std::max(largest, std::abs(v));
  return largest;
}

Difference largest_difference(const Tensor& got, const Tensor& want) {
  Difference worst;
  const std::vector<double> is = got.to_vector();
  const std::vector<double> must_be = want.to_vector();
  for (std::size_t i = 0; i < must_be.size(); ++i) {
    double error = std::abs(is[i] - must_be[i]);
    if (!std::isfinite(error)) error = std::numeric_limits<double>::infinity();
    if (error > worst.error) worst = {error, static_cast<std::int64_t>(i)};
  }
  return worst;
}

std::string not_close_to_scale(const Tensor& got, const Tensor& want, double tolerance, double scale) {
  std::ostringstream text;
  text.precision(12);
  if (!(got.shape() == want.shape())) {
    text << "shape " << got.shape() << ", must be " << want.shape();
    return text.str();
  }
  if (want.numel() == 0) return {};
  const Difference worst = largest_difference(got, want);
  if (worst.error <= tolerance * scale) return {};
  text << "element " << worst.at << " of " << want.shape() << " is " << unsigned_nan(got.at(worst.at)) << ", must be "
       << unsigned_nan(want.at(worst.at)) << ": error " << worst.error / scale << " of " << scale << ", allowed "
       << tolerance;
  return text.str();
}

std::string not_close(const Tensor& got, const Tensor& want, double tolerance) {
  return not_close_to_scale(got, want, tolerance, std::max(1.0, largest_of(want)));
}

double dtype_tolerance(DType dtype) {
  switch (dtype) {
    case DType::f64: return 1e-12;
    case DType::f32: return 2e-5;
    case DType::bf16: return 3e-2;
    case DType::i32: break;
  }
  raise<DTypeError>("dtype_tolerance: must be f64, f32 or bf16, got ", dtype_name(dtype));
}

}  // namespace mixgrad::test
