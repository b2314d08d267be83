#include "nn/mixers/mamba_heads.h"

#include <cmath>
#include <optional>

#include "autograd/tape.h"
#include "core/text/plural.h"
#include "ops/causal_conv/causal_conv.h"
#include "ops/elementwise/elementwise.h"
#include "ops/head_linear/head_linear.h"
#include "ops/heads/heads.h"
#include "ops/linear/linear.h"
#include "ops/selective_scan/mamba_step.h"
#include "ops/selective_scan/selective_scan.h"

namespace mixgrad {

void MambaState::reset() {
  conv.fill(0);
  scan.fill(0);
}

MambaHeads::MambaHeads(ParameterSet& parameters, const std::string& prefix, std::int64_t width, std::int64_t head_dim,
                       std::int64_t heads, const MixedHeadsConfig& layer, double out_scale)
    : heads_(heads),
      head_dim_(head_dim),
      inner_(layer.expand * head_dim),
      states_(layer.d_state),
      taps_(layer.d_conv),
      rank_(layer.dt_rank) {
  const auto add = [&](const char* name, const Shape& shape, Init init, bool decay) {
    return parameters.add(prefix + name, shape, init, decay);
  };
  const auto within = [](std::int64_t fan_in) { return Init::uniform(1.0 / std::sqrt(static_cast<double>(fan_in))); };
  in_proj_ = add(".in_proj.weight", {heads, 2 * inner_, width}, within(width), true);
  conv_ = keep_in_f32(add(".conv.weight", {heads, inner_, taps_}, within(taps_), true));
  conv_bias_ = keep_in_f32(add(".conv.bias", {heads, inner_}, within(taps_), false));
  x_proj_ = add(".x_proj.weight", {heads, rank_ + 2 * states_, inner_}, within(inner_), true);
  dt_proj_ = add(".dt_proj.weight", {heads, inner_, rank_}, within(rank_), true);
  dt_bias_ = add(".dt_proj.bias", {heads, inner_}, Init::step_bias(), false);
  a_log_ = add(".A_log", {heads, inner_, states_}, Init::log_count(), false);
  d_ = add(".D", {heads, inner_}, Init::constant(1), false);
  out_proj_ = add(".out_proj.weight", {heads, head_dim, inner_},
                  Init::uniform(out_scale / std::sqrt(static_cast<double>(inner_))), true);
}

std::string MambaHeads::describe() const {
  return count_text(heads_, "head") + " of width " + std::to_string(head_dim_) + ", " +
         count_text(inner_, "inner channel") + ", " + count_text(states_, "state") + ", rank " + std::to_string(rank_);
}

Tensor MambaHeads::input_weight() const { return in_proj_->value.reshape({heads_ * 2 * inner_, in_proj_->shape[2]}); }

std::optional<Tensor> MambaHeads::projected_in_one(const NormedInput& u) const {
  const std::optional<Tensor> in_one = u.in_one({.weight = input_weight()});
  if (!in_one) return std::nullopt;
  return split_heads(*in_one, heads_);
}

std::optional<Tensor> MambaHeads::stepped(const Tensor& projected, const MambaState& state, const Tensor& out) const {
  return mamba_step({.projected = projected,
                     .conv = conv_->value,
                     .conv_bias = conv_bias_->value,
                     .x_proj = x_proj_->value,
                     .dt_proj = dt_proj_->value,
                     .dt_bias = dt_bias_->value,
                     .a_log = a_log_->value,
                     .d = d_->value,
                     .out_proj = out_proj_->value,
                     .history = state.conv,
                     .scan_state = state.scan,
                     .out_beside = out});
}

Tensor MambaHeads::projected(const NormedInput& u) const {
  const std::optional<Tensor> in_one = projected_in_one(u);
  return in_one ? *in_one : split_heads(linear(u.tensor(), input_weight()), heads_);
}

MambaSelection MambaHeads::mamba_selection(const NormedInput& u) const { return selected(projected(u), nullptr); }

MambaSelection MambaHeads::selected(const Tensor& xz, const MambaState* state) const {
  const Tensor x = columns(xz, 0, inner_);
  const Tensor xc = state == nullptr ? causal_conv(x, conv_->value, conv_bias_->value)
                                     : causal_conv_cached(x, conv_->value, conv_bias_->value, state->conv);
  const Tensor dbc = head_linear(xc, x_proj_->value);  // [B,T,R,rank+2N]
  const Tensor dt = head_linear(columns(dbc, 0, rank_), dt_proj_->value, dt_bias_->value);
  return {.x = xc,
          .dt = dt,
          .a_log = a_log_->value,
          .d = d_->value,
          .b = columns(dbc, rank_, rank_ + states_),
          .c = columns(dbc, rank_ + states_, rank_ + 2 * states_)};
}

Tensor MambaHeads::from_projected(const Tensor& xz, const MambaState* state) const {
  const MambaSelection s = selected(xz, state);
  const Tensor y = state == nullptr ? selective_scan(s.x, s.dt, s.a_log, s.b, s.c, s.d)
                                    : selective_scan_cached(s.x, s.dt, s.a_log, s.b, s.c, s.d, state->scan);
  return head_linear(swiglu(columns(xz, inner_, 2 * inner_), y), out_proj_->value);  // [B,T,R,dh]
}

Tensor MambaHeads::forward(const NormedInput& u, const MambaState* state) const {
  const Tensor xz = projected(u);
  if (state != nullptr && xz.dim(1) == 1) {
    if (const std::optional<Tensor> out = stepped(xz, *state)) return *out;
  }
  return from_projected(xz, state);
}

Tensor MambaHeads::new_output(std::int64_t batch) const {
  const Tensor& like = out_proj_->value;
  return Tensor::empty({batch, 1, heads_, head_dim_}, like.dtype(), like.device());
}

Tensor MambaHeads::step_beside(const Tensor& projected, const MambaState& state, const Tensor& out) const {
  if (const std::optional<Tensor> made = stepped(projected, state, out)) return *made;
  return from_projected(split_heads(projected.clone(), heads_), &state);
}

MambaState MambaHeads::new_state(std::int64_t batch, Placement placement) const {
  return {Tensor::zeros({batch, taps_ - 1, heads_, inner_}, placement.dtype, placement.device),
          Tensor::zeros({batch, heads_, states_, inner_}, accumulation_dtype(placement.dtype), placement.device)};
}

double MambaHeads::operations() const {
  std::int64_t products = 0;
  for (const Parameter* weight : {in_proj_, conv_, x_proj_, dt_proj_, out_proj_}) products += weight->shape.numel();
  // the scan: an exponential (counted as one) and 5 for each state; two silus, softplus and the gate for each channel
  return 2.0 * static_cast<double>(products) + static_cast<double>(heads_ * inner_ * (6 * states_ + 8));
}

std::size_t MambaHeads::state_bytes(DType dtype) const {
  const std::size_t scan_bytes = dtype_bytes(accumulation_dtype(dtype));
  return static_cast<std::size_t>(heads_ * inner_) *
         (static_cast<std::size_t>(taps_ - 1) * dtype_bytes(dtype) + static_cast<std::size_t>(states_) * scan_bytes);
}

}  // namespace mixgrad
