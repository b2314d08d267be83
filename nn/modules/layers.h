// The small modules of a decoder: linear, norm, mlp. Each asks the ParameterSet for its parameters under the names of a
// checkpoint, and is a thin layer over one or two operators.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "nn/config/model_config.h"
#include "nn/modules/parameter.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/normed_linear.h"

namespace mixgrad {

inline constexpr double kInitDeviation = 0.02;  // of matrices and embeddings, as GPT-2

class NormedInput;

// y = x weight^T + bias;  weight [out,in] normal(deviation), bias [out] zero or absent
class Linear {
 public:
  Linear(ParameterSet& parameters, const std::string& prefix, std::int64_t in, std::int64_t out, bool bias,
         double deviation);
  Tensor forward(const Tensor& x) const;       // [...,in] -> [...,out]
  Tensor forward_gelu(const Tensor& x) const;  // gelu of it
  // The same of an input that may still have to be normed.
  Tensor forward(const NormedInput& x) const;
  Tensor forward_gelu(const NormedInput& x) const;
  Tensor forward_rope(const NormedInput& x, const RopeOptions& options) const;  // rope of it
  Tensor forward_swiglu(const NormedInput& x, const Linear& gate) const;        // silu(gate of x) times it
  // [..., out + M]: forward, or forward_rope with `rope`, and beside it the product with more_weight [M,in], in one
  // kernel; nullopt, and nothing is done, where there is no such kernel (in_one).
  std::optional<Tensor> forward_beside(const NormedInput& x, const RopeOptions* rope, const Tensor& more_weight) const;
  // Of heads that lie in parts (concat_heads, ops/heads), put side by side.
  Tensor forward_heads(std::span<const Tensor> parts, std::span<const std::int64_t> slots, std::int64_t head_dim) const;
  // The same as forward into columns of a tensor that others fill beside it (ops/linear).
  void forward_into(const Tensor& x, Tensor& whole, std::int64_t column) const;
  // Operations for one token (a multiplication and an addition count as two).
  std::int64_t operations() const { return 2 * weight_->shape.numel(); }

 private:
  NormedLinear product(AfterLinear after) const;

  const Parameter* weight_;
  const Parameter* bias_ = nullptr;
};

// LayerNorm (weight one, bias zero) or RMSNorm (weight one), alone or fused with the residual sum before it.
class NormLayer {
 public:
  NormLayer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config);
  Tensor forward(const Tensor& x, DType out) const;                // in bf16 x is f32
  SumAndNorm forward_sum(const Tensor& x, const Tensor& y) const;  // norm of x + y, in the dtype of y
  RowNorm as_row_norm() const;

 private:
  Norm kind_;
  double eps_;
  const Parameter* weight_;
  const Parameter* bias_ = nullptr;
};

// What a mixer or an MLP computes from: u = norm(x + y), where x is the residual stream and y what is added to it. In a
// decoding step on a CUDA device a Linear that is given this computes sum, norm and product in one kernel; everybody
// else takes tensor(). The values are the same either way.
class NormedInput {
 public:
  NormedInput(Tensor u);  // NOLINT(google-explicit-constructor): normed already
  // y may be undefined: nothing is added. `dtype`: of u. Everything is kept by value but `norm`, which must live on.
  NormedInput(const NormLayer& norm, Tensor x, Tensor y, DType dtype);

  Device device() const { return u_.defined() ? u_.device() : x_.device(); }
  const Shape& shape() const { return u_.defined() ? u_.shape() : x_.shape(); }  // [B,T,D]
  const Tensor& tensor() const;                                                  // u
  const Tensor& sum() const;                                                     // x + y
  // The product of u, with what follows it, in one kernel with sum and norm; nullopt, and nothing is done, where there
  // is no such kernel (ops/linear/normed_linear.h) or u is there already.
  std::optional<Tensor> in_one(const NormedLinear& product) const;
  // As in_one, for another kernel: step(x, y, norm) gives its sum and result, or nullopt.
  template <class Step>
  std::optional<Tensor> in_one_by(const Step& step) const {
    if (u_.defined()) return std::nullopt;
    std::optional<SumAndResult> made = step(x_, y_, norm_->as_row_norm());
    if (!made) return std::nullopt;
    x_ = std::move(made->sum);
    y_ = Tensor();
    return std::move(made->result);
  }

 private:
  const NormLayer* norm_ = nullptr;
  DType dtype_ = DType::f32;
  mutable Tensor x_, y_;  // y_ is undefined once it is added
  mutable Tensor u_;      // undefined until it is computed
};

// down(act(up(u))), or down(silu(gate(u)) up(u)) for swiglu;  [...,D] -> [...,D]. The model has an MLP (Mlp::none:
// not).
class MlpLayer {
 public:
  MlpLayer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config, double out_deviation);
  Tensor forward(const NormedInput& u) const;
  std::int64_t operations() const;

 private:
  Mlp kind_;
  std::vector<Linear> layers_;  // up, down, or gate, up, down
};

}  // namespace mixgrad
