// Heads that are Mamba blocks of their own, R of them side by side, each from u [D] to its dh outputs.
//   [x; z] = in_proj u;   xc = silu(conv(x));   (delta, B, C) = x_proj xc;   dt = dt_proj delta + bias
//   y = selective_scan(xc, dt, A_log, B, C, D);   out = out_proj (silu(z) y)
//   parameters under PREFIX, with di = expand dh inner channels, N states, W taps: in_proj.weight [R,2di,D],
//   conv.weight [R,di,W], conv.bias [R,di], x_proj.weight [R,rank+2N,di], dt_proj.weight [R,di,rank],
//   dt_proj.bias [R,di], A_log [R,di,N], D [R,di], out_proj.weight [R,dh,di]
// All heads go through each operator at once; in_proj is one product, the others one of a batch of R.
// Init: A_log = log(n+1), D = 1, dt_proj uniform within rank^-1/2, its bias such that the steps lie in [1e-3, 1e-1]
//   (Mamba); in_proj, x_proj, out_proj, conv and its bias uniform within fan_in^-1/2, as Mamba's code leaves them;
//   out_proj times out_scale, which is below 1 where nothing follows the heads in their layer, as Mamba's code does.
// State: the last W-1 inputs x and the scan's state, constant in the generated length:
//   B R di (W-1) elements and B R di N elements of f32 (f64 for f64).
#pragma once

#include <optional>
#include <string>

#include "nn/config/kinds/mixed_heads.h"
#include "nn/modules/layers.h"

namespace mixgrad {

struct MambaState {
  Tensor conv;  // [B,W-1,R,di], oldest first
  Tensor scan;  // [B,R,N,di]

  std::size_t bytes() const { return conv.bytes() + scan.bytes(); }
  void reset();
  MambaState clone() const { return {conv.clone(), scan.clone()}; }
};

// What the scan reads of an input (ops/selective_scan).
struct MambaSelection {
  Tensor x, dt;     // [B,T,R,di]; the step is softplus(dt)
  Tensor a_log, d;  // [R,di,N], [R,di]
  Tensor b, c;      // [B,T,R,N]
};

class MambaHeads {
 public:
  MambaHeads(ParameterSet& parameters, const std::string& prefix, std::int64_t width, std::int64_t head_dim,
             std::int64_t heads, const MixedHeadsConfig& layer, double out_scale);

  std::string describe() const;  // "2 heads of width 32, 64 inner channels, 16 states, rank 2"
  // [B,T,D] -> [B,T,R,dh]. With a state: continues it (not recorded); null: from the start.
  Tensor forward(const NormedInput& u, const MambaState* state) const;
  Tensor input_weight() const;  // in_proj as one matrix [R 2di, D]
  // The same of one token and a state, from its product with input_weight() on, [B,1,R 2di], which may be a row view.
  // new_output() comes first: a kernel that runs beside the one queued before it (ops/selective_scan/mamba_step.h) may
  // only write into memory that was taken before that one was queued.
  Tensor new_output(std::int64_t batch) const;
  Tensor step_beside(const Tensor& projected, const MambaState& state, const Tensor& out) const;
  MambaSelection mamba_selection(const NormedInput& u) const;
  MambaState new_state(std::int64_t batch, Placement placement) const;
  double operations() const;  // per token
  std::size_t state_bytes(DType dtype) const;

 private:
  std::optional<Tensor> projected_in_one(const NormedInput& u) const;
  std::optional<Tensor> stepped(const Tensor& projected, const MambaState& state, const Tensor& out = {}) const;
  Tensor projected(const NormedInput& u) const;                              // [B,T,R,2di]
  MambaSelection selected(const Tensor& xz, const MambaState* state) const;  // after in_proj, before the scan
  Tensor from_projected(const Tensor& projected, const MambaState* state) const;

  std::int64_t heads_;
  std::int64_t head_dim_;
  std::int64_t inner_;  // di
  std::int64_t states_;
  std::int64_t taps_;
  std::int64_t rank_;
  const Parameter* in_proj_;
  const Parameter* conv_;
  const Parameter* conv_bias_;
  const Parameter* x_proj_;
  const Parameter* dt_proj_;
  const Parameter* dt_bias_;
  const Parameter* a_log_;
  const Parameter* d_;
  const Parameter* out_proj_;
};

}  // namespace mixgrad
