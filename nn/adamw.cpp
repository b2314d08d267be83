#include "nn/adamw.h"

#include <cmath>

#include "core/error.h"
#include "core/parallel.h"

namespace mixgrad {

namespace {
constexpr std::int64_t kBlock = 16384;
}

AdamW::AdamW(ParameterSet& parameters, const AdamWOptions& options) : parameters_(parameters), options_(options) {
  const auto check = [](const char* name, double value, bool good, const char* range) {
    if (!good) raise<ValueError>("adamw: ", name, " must be ", range, ", got ", value);
  };
  check("beta1", options.beta1, options.beta1 >= 0 && options.beta1 < 1, "in [0,1)");
  check("beta2", options.beta2, options.beta2 >= 0 && options.beta2 < 1, "in [0,1)");
  check("eps", options.eps, options.eps > 0 && std::isfinite(options.eps), "finite and above 0");
  check("weight_decay", options.weight_decay, options.weight_decay >= 0 && std::isfinite(options.weight_decay),
        "finite and at least 0");
  check("clip", options.clip, options.clip > 0, "above 0");
  m_ = Tensor::zeros(parameters.flat().shape(), parameters.dtype());
  v_ = Tensor::zeros(parameters.flat().shape(), parameters.dtype());
  const FlatLayout layout(parameters.shapes());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::int64_t end = layout.offsets[i] + parameters[i].shape.numel();
    for (std::int64_t begin = layout.offsets[i]; begin < end; begin += kBlock) {
      blocks_.push_back({begin, std::min(end, begin + kBlock), &parameters[i]});
    }
  }
  sums_.resize(blocks_.size());
}

double AdamW::norm(const Tensor& flat) {
  dispatch_accumulation(flat.dtype(), "adamw", [&]<class T>() {
    const T* g = flat.data<T>();
    parallel_for(static_cast<std::int64_t>(blocks_.size()), [&](std::int64_t i) {
      const Block& block = blocks_[static_cast<std::size_t>(i)];
      double sum = 0;
      if (!block.parameter->trainable) {
        sums_[static_cast<std::size_t>(i)] = 0;
        return;
      }
#pragma omp simd reduction(+ : sum)
      for (std::int64_t j = block.begin; j < block.end; ++j)
        sum += static_cast<double>(g[j]) * static_cast<double>(g[j]);
      sums_[static_cast<std::size_t>(i)] = sum;
    });
  });
  double total = 0;
  for (const double sum : sums_) total += sum;
  return std::sqrt(total);
}

double AdamW::step(const Gradients& gradients, double learning_rate) {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].trainable && !gradients.arrived(i)) {
      raise<GradError>("adamw: parameter '", parameters_[i].name,
                       "' has no gradient: the loss does not depend on it; freeze it (trainable = false) or use it");
    }
  }
  const double gradient_norm = norm(gradients.flat());
  if (!std::isfinite(gradient_norm)) return gradient_norm;
  ++steps_;
  const double scale = std::min(1.0, options_.clip / (gradient_norm + 1e-6));
  const double correction1 = 1.0 - std::pow(options_.beta1, static_cast<double>(steps_));
  const double correction2 = 1.0 - std::pow(options_.beta2, static_cast<double>(steps_));
  dispatch_accumulation(parameters_.dtype(), "adamw", [&]<class T>() {
    const T* g = gradients.flat().data<T>();
    T* p = parameters_.flat().data<T>();
    T* m = m_.data<T>();
    T* v = v_.data<T>();
    const T factor = T(scale);
    const T beta1 = T(options_.beta1);
    const T beta2 = T(options_.beta2);
    const T rate = T(learning_rate / correction1);
    const T inverse2 = T(1.0 / correction2);
    const T eps = T(options_.eps);
    parallel_for(static_cast<std::int64_t>(blocks_.size()), [&](std::int64_t i) {
      const Block& block = blocks_[static_cast<std::size_t>(i)];
      if (!block.parameter->trainable) return;
      const T keep = block.parameter->decay ? T(1.0 - learning_rate * options_.weight_decay) : T(1);
#pragma omp simd
      for (std::int64_t j = block.begin; j < block.end; ++j) {
        const T gradient = g[j] * factor;
        m[j] = beta1 * m[j] + (T(1) - beta1) * gradient;
        v[j] = beta2 * v[j] + (T(1) - beta2) * gradient * gradient;
        p[j] = p[j] * keep - rate * m[j] / (std::sqrt(v[j] * inverse2) + eps);
      }
    });
  });
  return gradient_norm;
}

void AdamW::restore(const Tensor& m, const Tensor& v, std::int64_t steps) {
  m_.copy_from(m);
  v_.copy_from(v);
  steps_ = steps;
}

}  // namespace mixgrad
