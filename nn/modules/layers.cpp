#include "nn/modules/layers.h"

#include <utility>

#include "core/error.h"
#include "ops/elementwise/elementwise.h"
#include "ops/heads/heads.h"
#include "ops/linear/heads_linear.h"
#include "ops/linear/linear.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"

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

NormedLinear Linear::product(AfterLinear after) const {
  return {.weight = weight_->value, .bias = bias_ == nullptr ? Tensor() : bias_->value, .after = after};
}

Tensor Linear::forward(const NormedInput& x) const {
  const std::optional<Tensor> y = x.in_one(product(AfterLinear::plain));
  return y ? *y : forward(x.tensor());
}

Tensor Linear::forward_gelu(const NormedInput& x) const {
  const std::optional<Tensor> y = x.in_one(product(AfterLinear::gelu));
  return y ? *y : forward_gelu(x.tensor());
}

Tensor Linear::forward_rope(const NormedInput& x, const RopeOptions& options) const {
  NormedLinear turned = product(AfterLinear::rope);
  turned.rope = options;
  const std::optional<Tensor> y = x.in_one(turned);
  return y ? *y : rope(forward(x.tensor()), options);
}

std::optional<Tensor> Linear::forward_beside(const NormedInput& x, const RopeOptions* rope,
                                             const Tensor& more_weight) const {
  NormedLinear both = product(rope == nullptr ? AfterLinear::plain : AfterLinear::rope);
  if (rope != nullptr) both.rope = *rope;
  both.more_weight = more_weight;
  return x.in_one(both);
}

Tensor Linear::forward_swiglu(const NormedInput& x, const Linear& gate) const {
  NormedLinear both = product(AfterLinear::swiglu);
  both.gate_weight = gate.weight_->value;
  if (gate.bias_ != nullptr) both.gate_bias = gate.bias_->value;
  const std::optional<Tensor> y = x.in_one(both);
  if (y) return *y;
  const Tensor up = forward(x.tensor());  // before the gate: their order on the tape decides the last bits of du
  return swiglu(gate.forward(x.tensor()), up);
}

Tensor Linear::forward_heads(std::span<const Tensor> parts, std::span<const std::int64_t> slots,
                             std::int64_t head_dim) const {
  const Tensor bias = bias_ == nullptr ? Tensor() : bias_->value;
  if (parts.front().dim(1) == 1) {
    const std::optional<Tensor> y = heads_linear(parts, slots, head_dim, weight_->value, bias);
    if (y) return *y;
  }
  return forward(concat_heads(parts, slots, head_dim));
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

RowNorm NormLayer::as_row_norm() const {
  return {.centred = kind_ == Norm::layernorm,
          .weight = weight_->value,
          .bias = bias_ == nullptr ? Tensor() : bias_->value,
          .eps = eps_};
}

NormedInput::NormedInput(Tensor u) : dtype_(u.dtype()), u_(std::move(u)) {}

NormedInput::NormedInput(const NormLayer& norm, Tensor x, Tensor y, DType dtype)
    : norm_(&norm), dtype_(dtype), x_(std::move(x)), y_(std::move(y)) {}

const Tensor& NormedInput::tensor() const {
  if (u_.defined()) return u_;
  if (y_.defined()) {
    SumAndNorm both = norm_->forward_sum(x_, y_);
    x_ = std::move(both.sum);
    y_ = Tensor();
    u_ = std::move(both.normed);
  } else {
    u_ = norm_->forward(x_, dtype_);
  }
  return u_;
}

const Tensor& NormedInput::sum() const {
  if (y_.defined()) static_cast<void>(tensor());
  return x_;
}

std::optional<Tensor> NormedInput::in_one(const NormedLinear& product) const {
  return in_one_by(
      [&](const Tensor& x, const Tensor& y, const RowNorm& norm) { return normed_linear(x, y, norm, product); });
}

MlpLayer::MlpLayer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config, double out_deviation)
    : kind_(config.mlp) {
  MIXGRAD_ASSERT(kind_ != Mlp::none, "a model without an MLP makes no MlpLayer");
  if (kind_ == Mlp::swiglu) {
    layers_.emplace_back(parameters, prefix + ".gate", config.d_model, config.d_ff, config.bias, kInitDeviation);
  }
  layers_.emplace_back(parameters, prefix + ".up", config.d_model, config.d_ff, config.bias, kInitDeviation);
  layers_.emplace_back(parameters, prefix + ".down", config.d_ff, config.d_model, config.bias, out_deviation);
}

Tensor MlpLayer::forward(const NormedInput& u) const {
  switch (kind_) {
    case Mlp::gelu: return layers_[1].forward(layers_[0].forward_gelu(u));
    case Mlp::gelu_erf: return layers_[1].forward(gelu_erf(layers_[0].forward(u)));
    case Mlp::relu: return layers_[1].forward(relu(layers_[0].forward(u)));
    case Mlp::swiglu:
    case Mlp::none: break;  // none: refused by the constructor
  }
  return layers_[2].forward(layers_[1].forward_swiglu(u, layers_[0]));
}

std::int64_t MlpLayer::operations() const {
  std::int64_t total = 0;
  for (const Linear& layer : layers_) total += layer.operations();
  return total;
}

}  // namespace mixgrad
