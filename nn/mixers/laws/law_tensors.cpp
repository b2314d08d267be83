#include "nn/mixers/laws/law_tensors.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "core/rng.h"
#include "nn/mixers/laws/mixer_laws.h"

namespace mixgrad {
// On a CUDA device products of another number of rows round in another order (largest error seen: 3.2e-5).
double law_tolerance(DType dtype, Device device) {
  if (dtype == DType::f64) return 1e-12;
  if (dtype == DType::bf16) return 3e-2;
  return device.is_cuda() ? 6e-5 : 1e-5;
}

double largest_value(const Tensor& x) {
  double largest = 0;
  for (const double v : x.to(kCpu).to_vector()) largest = std::max(largest, std::abs(v));
  return largest;
}

Tensor law_numbers(const Shape& shape, DType dtype, std::uint64_t seed, double deviation) {
  const Tensor drawn = Tensor::empty(shape, DType::f64);
  Rng rng(seed);
  rng.fill_normal(drawn, 0, deviation);
  return drawn.to(dtype);
}

void fill_law_parameters(ParameterSet& parameters, std::uint64_t seed) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    Rng rng(seed, static_cast<std::uint64_t>(i) << 32U);
    // A Mamba head has seven products one after another: with smaller values their gradients would be lost in the noise
    // of differences.
    const bool mamba = parameter.name.find(".mamba.") != std::string::npos;
    const Tensor drawn = Tensor::empty(parameter.shape, DType::f64);  // on the host, as are all draws
    rng.fill_normal(drawn, 0, mamba ? 0.7 : 0.3);
    const bool norm_weight = parameter.init.kind == Init::Kind::constant && parameter.init.value == 1;
    for (std::int64_t e = 0; norm_weight && e < drawn.numel(); ++e) drawn.set(e, 1 + drawn.at(e));
    parameter.master.copy_from(drawn.to(parameter.master.dtype()));
  }
  parameters.refresh();
}

Tensor time_slice(const Tensor& x, std::int64_t begin, std::int64_t end) {
  const bool flat = x.shape().rank() == 2;
  const std::int64_t width = flat ? 1 : x.dim(2);
  const Tensor from = x.detach().reshape({x.dim(0), x.dim(1), width});
  const Tensor part = Tensor::empty({x.dim(0), end - begin, width}, x.dtype(), x.device());
  for (std::int64_t b = 0; b < x.dim(0); ++b) {
    part.slice(b, b + 1)
        .reshape({end - begin, width})
        .copy_from(from.slice(b, b + 1).reshape({x.dim(1), width}).slice(begin, end));
  }
  return flat ? part.reshape({x.dim(0), end - begin}) : part;
}

Tensor pick_sequences(const Tensor& x, const std::vector<std::int64_t>& order) {
  const Shape matrix{x.dim(0), x.numel() / x.dim(0)};
  const Tensor from = x.detach().reshape(matrix);
  const auto count = static_cast<std::int64_t>(order.size());
  const Tensor picked = Tensor::empty({count, matrix[1]}, x.dtype(), x.device());
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = order[static_cast<std::size_t>(i)];
    picked.slice(i, i + 1).copy_from(from.slice(row, row + 1));
  }
  if (x.shape().rank() == 2) return picked;
  return picked.reshape({count, x.dim(1), x.dim(2)});
}

Tensor in_pieces(const Mixer& mixer, const Tensor& x, MixerState& state, const std::vector<std::int64_t>& sizes) {
  const std::int64_t steps = x.dim(1);
  Tensor all;
  std::int64_t at = 0;
  for (std::size_t i = 0; at < steps; ++i) {
    const std::int64_t end = std::min(steps, at + sizes[std::min(i, sizes.size() - 1)]);
    const Tensor y = mixer.prefill(time_slice(x, at, end), state);
    if (!all.defined()) all = Tensor::empty({y.dim(0), steps, y.dim(2)}, y.dtype(), y.device());
    for (std::int64_t b = 0; b < y.dim(0); ++b) {
      all.slice(b, b + 1)
          .reshape({steps, y.dim(2)})
          .slice(at, end)
          .copy_from(y.slice(b, b + 1).reshape({end - at, y.dim(2)}));
    }
    at = end;
  }
  return all;
}

std::string differs(const Tensor& got, const Tensor& want, Device device) {
  std::ostringstream text;
  text.precision(12);
  if (!(got.shape() == want.shape())) {
    text << "shape " << got.shape() << ", must be " << want.shape();
    return text.str();
  }
  const double scale = std::max(largest_value(want), 1e-30);
  const double tolerance = law_tolerance(want.dtype(), device);
  const std::vector<double> is = got.to(kCpu).to_vector();
  const std::vector<double> must_be = want.to(kCpu).to_vector();
  double worst = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < must_be.size(); ++i) {
    double error = std::abs(is[i] - must_be[i]);
    if (!std::isfinite(error)) error = std::numeric_limits<double>::infinity();
    if (error <= worst) continue;
    worst = error;
    at = i;
  }
  if (worst <= tolerance * scale) return {};
  text << "element " << at << " of " << want.shape() << " is " << is[at] << ", must be " << must_be[at] << ": error "
       << worst / scale << " of " << scale << ", allowed " << tolerance;
  return text.str();
}

}  // namespace mixgrad
