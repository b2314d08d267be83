#include "nn/mixers/shift_heads.h"

#include <cmath>

#include "core/text/plural.h"
#include "ops/shift_mix/shift_mix.h"

namespace mixgrad {

ShiftHeads::ShiftHeads(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config,
                       std::int64_t head_dim, const std::vector<std::int64_t>& shifts)
    : head_dim_(head_dim),
      shifts_(shifts),
      v_(parameters, prefix + ".v", config.d_model, static_cast<std::int64_t>(shifts.size()) * head_dim, config.bias,
         kInitDeviation) {
  const Shape heads{static_cast<std::int64_t>(shifts.size())};
  a_ = parameters.add(prefix + ".a", heads, Init::constant(std::sqrt(0.5)), false);
  b_ = parameters.add(prefix + ".b", heads, Init::constant(std::sqrt(0.5)), false);
}

std::string ShiftHeads::describe() const {
  std::string text = count_text(static_cast<std::int64_t>(shifts_.size()), "head") + " of width " +
                     std::to_string(head_dim_) + (shifts_.size() == 1 ? ", shift" : ", shifts");
  for (const std::int64_t shift : shifts_) text += " " + std::to_string(shift);
  return text;
}

Tensor ShiftHeads::forward(const NormedInput& u) const {
  return shift_mix(v_.forward(u), a_->value, b_->value, {shifts_, Boundary::zero});
}

Tensor ShiftHeads::prefill(const NormedInput& u, const Tensor& ring, TokenPosition position) const {
  return shift_mix_cached(v_.forward(u), a_->value, b_->value, ring, position, {shifts_, Boundary::zero});
}

Tensor ShiftHeads::new_ring(std::int64_t batch, Placement placement) const {
  const auto width = static_cast<std::int64_t>(shifts_.size()) * head_dim_;
  return Tensor::empty({batch, ring_elements(width, shifts_)}, placement);
}

double ShiftHeads::operations() const {
  return static_cast<double>(v_.operations()) +
         3.0 * static_cast<double>(shifts_.size()) * static_cast<double>(head_dim_);
}

std::size_t ShiftHeads::state_bytes(DType dtype) const {
  const auto width = static_cast<std::int64_t>(shifts_.size()) * head_dim_;
  return static_cast<std::size_t>(ring_elements(width, shifts_)) * dtype_bytes(dtype);
}

}  // namespace mixgrad
