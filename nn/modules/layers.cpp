#include "nn/modules/layers.h"

#include "ops/elementwise/elementwise.h"
#include "ops/linear/linear.h"
#include "ops/rms_norm/rms_norm.h"

namespace mixgrad {

Linear::Linear(ParameterSet& parameters, const std::string& prefix, std::int64_t in, std::int64_t out, bool bias,
               double deviation)
    : weight_(parameters.add(prefix + ".weight", {out, in}, Init::normal(deviation), true)) {
  if (bias) bias_ = parameters.add(prefix + ".bias", {out}, Init::constant(0), false);
}

Tensor Linear::forward(const Tensor& x) const {
  return linear(x, weight_->value, bias_ == nullptr ? Tensor() : bias_->value);
}

Tensor Linear::forward_gelu(const Tensor& x) const {
  return linear_gelu(x, weight_->value, bias_ == nullptr ? Tensor() : bias_->value);
}

void Linear::forward_into(const Tensor& x, Tensor& whole, std::int64_t column) const {
  linear_into(x, weight_->value, bias_ == nullptr ? Tensor() : bias_->value, whole, column);
}

NormLayer::NormLayer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config)
    : kind_(config.norm),
      eps_(config.norm_eps),
      weight_(keep_in_f32(parameters.add(prefix + ".weight", {config.d_model}, Init::constant(1), false))) {
  if (kind_ == Norm::layernorm && config.bias) {
    bias_ = keep_in_f32(parameters.add(prefix + ".bias", {config.d_model}, Init::constant(0), false));
  }
}

Tensor NormLayer::forward(const Tensor& x, DType out) const {
  switch (kind_) {
    case Norm::rmsnorm: return rms_norm(x, weight_->value, eps_, out);
    case Norm::layernorm: break;
  }
  return layer_norm(x, weight_->value, bias_ == nullptr ? Tensor() : bias_->value, eps_, out);
}

SumAndNorm NormLayer::forward_sum(const Tensor& x, const Tensor& y) const {
  switch (kind_) {
    case Norm::rmsnorm: return add_rms_norm(x, y, weight_->value, eps_);
    case Norm::layernorm: break;
  }
  return add_layer_norm(x, y, weight_->value, bias_ == nullptr ? Tensor() : bias_->value, eps_);
}

MlpLayer::MlpLayer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config, double out_deviation)
    : kind_(config.mlp) {
  if (kind_ == Mlp::swiglu) {
    layers_.emplace_back(parameters, prefix + ".gate", config.d_model, config.d_ff, config.bias, kInitDeviation);
  }
  layers_.emplace_back(parameters, prefix + ".up", config.d_model, config.d_ff, config.bias, kInitDeviation);
  layers_.emplace_back(parameters, prefix + ".down", config.d_ff, config.d_model, config.bias, out_deviation);
}

Tensor MlpLayer::forward(const Tensor& u) const {
  switch (kind_) {
    case Mlp::gelu: return layers_[1].forward(layers_[0].forward_gelu(u));
    case Mlp::gelu_erf: return layers_[1].forward(gelu_erf(layers_[0].forward(u)));
    case Mlp::relu: return layers_[1].forward(relu(layers_[0].forward(u)));
    case Mlp::swiglu: break;
  }
  const Tensor up = layers_[1].forward(u);  // before the gate: their order on the tape decides the last bits of du
  const Tensor gate = layers_[0].forward(u);
  return layers_[2].forward(swiglu(gate, up));
}

std::int64_t MlpLayer::operations() const {
  std::int64_t total = 0;
  for (const Linear& layer : layers_) total += layer.operations();
  return total;
}

}  // namespace mixgrad
