// The small modules of a decoder: linear, norm, mlp. Each asks the ParameterSet for its parameters under the names of a
// checkpoint, and is a thin layer over one or two operators.
#pragma once

#include <string>

#include "nn/config/model_config.h"
#include "nn/modules/parameter.h"
#include "ops/layer_norm/layer_norm.h"

namespace mixgrad {

inline constexpr double kInitDeviation = 0.02;  // of matrices and embeddings, as GPT-2

// y = x weight^T + bias;  weight [out,in] normal(deviation), bias [out] zero or absent
class Linear {
 public:
  Linear(ParameterSet& parameters, const std::string& prefix, std::int64_t in, std::int64_t out, bool bias,
         double deviation);
  Tensor forward(const Tensor& x) const;       // [...,in] -> [...,out]
  Tensor forward_gelu(const Tensor& x) const;  // gelu of it
  // The same as forward into columns of a tensor that others fill beside it (ops/linear).
  void forward_into(const Tensor& x, Tensor& whole, std::int64_t column) const;
  // Operations for one token (a multiplication and an addition count as two).
  std::int64_t operations() const { return 2 * weight_->shape.numel(); }

 private:
  const Parameter* weight_;
  const Parameter* bias_ = nullptr;
};

// LayerNorm (weight one, bias zero) or RMSNorm (weight one), alone or fused with the residual sum before it.
class NormLayer {
 public:
  NormLayer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config);
  Tensor forward(const Tensor& x, DType out) const;                // in bf16 x is f32
  SumAndNorm forward_sum(const Tensor& x, const Tensor& y) const;  // norm of x + y, in the dtype of y

 private:
  Norm kind_;
  double eps_;
  const Parameter* weight_;
  const Parameter* bias_ = nullptr;
};

// down(act(up(u))), or down(silu(gate(u)) up(u)) for swiglu;  [...,D] -> [...,D]
class MlpLayer {
 public:
  MlpLayer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config, double out_deviation);
  Tensor forward(const Tensor& u) const;
  std::int64_t operations() const;

 private:
  Mlp kind_;
  std::vector<Linear> layers_;  // up, down, or gate, up, down
};

}  // namespace mixgrad
