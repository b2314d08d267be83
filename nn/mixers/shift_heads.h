// Heads that mix each projected token with the one s before it (ops/shift_mix), S of them, each with its own shift:
//   v = linear(u);   out_t = a_r v_t + b_r v_{t-s_r},  v = 0 before the start
//   parameters: PREFIX.v.weight [S dh, D] and bias, PREFIX.a, PREFIX.b [S], 1/sqrt(2) at first (v is small already)
// State: per head a ring of the last s_r vectors v: B dh sum s_r elements.
#pragma once

#include <string>
#include <vector>

#include "core/numeric/token_position.h"
#include "nn/modules/layers.h"

namespace mixgrad {

class ShiftHeads {
 public:
  ShiftHeads(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config, std::int64_t head_dim,
             const std::vector<std::int64_t>& shifts);

  std::string describe() const;                // "2 heads of width 32, shifts 1 2"
  Tensor forward(const NormedInput& u) const;  // [B,T,D] -> [B,T,S dh]
  // The next tokens after `position`; reads and advances `ring`. Not recorded.
  Tensor prefill(const NormedInput& u, const Tensor& ring, TokenPosition position) const;
  Tensor new_ring(std::int64_t batch, Placement placement) const;
  double operations() const;  // per token
  std::size_t state_bytes(DType dtype) const;

 private:
  std::int64_t head_dim_;
  std::vector<std::int64_t> shifts_;
  Linear v_;
  const Parameter* a_;
  const Parameter* b_;
};

}  // namespace mixgrad
