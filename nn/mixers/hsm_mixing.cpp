#include "nn/mixers/hsm_mixing.h"

#include "autograd/tape.h"
#include "nn/modules/layers.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gate_blend/gate_blend.h"
#include "ops/head_linear/head_linear.h"
#include "ops/shift_mix/shift_mix.h"

namespace mixgrad {
namespace {

const Parameter* add_matrices(const HsmSetup& setup, const char* name, const Shape& shape) {
  return setup.parameters.add(setup.prefix + name, shape, Init::normal(kInitDeviation), true);
}

const Parameter* add_bias(const HsmSetup& setup, const char* name, const Shape& shape) {
  return setup.parameters.add(setup.prefix + name, shape, Init::constant(0), false);
}

Shape square(const HsmSetup& setup) { return {setup.layer.heads, setup.head_width(), setup.head_width()}; }

// scalar, vector: one operator does it all, z is never stored.
class CoefficientMixing : public HsmMixing {
 public:
  explicit CoefficientMixing(const HsmSetup& setup) : width_(setup.width) {
    const Shape shape{setup.layer.variant == HsmVariant::scalar ? setup.layer.heads : setup.width};
    a_ = setup.parameters.add(setup.prefix + ".a", shape, Init::constant(setup.init_scale), false);
    b_ = setup.parameters.add(setup.prefix + ".b", shape, Init::constant(setup.init_scale), false);
  }

  Tensor forward(const Tensor& u, const HsmPast& past) const override {
    if (past.ring == nullptr) return shift_mix(u, a_->value, b_->value, past.options);
    return shift_mix_cached(u, a_->value, b_->value, *past.ring, past.position, past.options);
  }

  double operations() const override { return 3.0 * static_cast<double>(width_); }

 private:
  std::int64_t width_;
  const Parameter* a_;
  const Parameter* b_;
};

class MatrixMixing : public HsmMixing {
 public:
  explicit MatrixMixing(const HsmSetup& setup)
      : u_(add_matrices(setup, ".u.weight", square(setup))),
        z_(add_matrices(setup, ".z.weight", square(setup))),
        bias_(add_bias(setup, ".bias", {setup.width})) {}

  Tensor forward(const Tensor& u, const HsmPast& past) const override {
    return head_linear(u, u_->value, past.shifted(u), z_->value, bias_->value);
  }

  double operations() const override { return 2.0 * static_cast<double>(u_->shape.numel() + z_->shape.numel()); }

 private:
  const Parameter* u_;
  const Parameter* z_;
  const Parameter* bias_;
};

class GateMixing : public HsmMixing {
 public:
  explicit GateMixing(const HsmSetup& setup) : u_(add_matrices(setup, ".gate_u.weight", square(setup))) {
    if (setup.layer.variant == HsmVariant::gate_double) z_ = add_matrices(setup, ".gate_z.weight", square(setup));
    bias_ = add_bias(setup, ".gate.bias", {setup.width});
  }

  Tensor forward(const Tensor& u, const HsmPast& past) const override {
    const Tensor z = past.shifted(u);
    const Tensor gate =
        z_ == nullptr ? head_linear(u, u_->value, bias_->value) : head_linear(u, u_->value, z, z_->value, bias_->value);
    return gate_blend(gate, u, z);
  }

  double operations() const override {  // of the blend: six, the sigmoid counted as three
    const std::int64_t matrices = u_->shape.numel() + (z_ == nullptr ? 0 : z_->shape.numel());
    return 2.0 * static_cast<double>(matrices) + 6.0 * static_cast<double>(bias_->shape.numel());
  }

 private:
  const Parameter* u_;
  const Parameter* z_ = nullptr;
  const Parameter* bias_;
};

class FusionMixing : public HsmMixing {
 public:
  explicit FusionMixing(const HsmSetup& setup) : head_width_(setup.head_width()) {
    const std::int64_t heads = setup.layer.heads;
    const std::int64_t hidden = setup.layer.hidden;
    up_ = add_matrices(setup, ".up.weight", {heads, hidden, 2 * head_width_});
    up_bias_ = add_bias(setup, ".up.bias", {heads, hidden});
    down_ = add_matrices(setup, ".down.weight", {heads, head_width_, hidden});
    down_bias_ = add_bias(setup, ".down.bias", {setup.width});
  }

  // W1 [u; z] = (left half of W1) u + (right half) z: nothing is concatenated.
  Tensor forward(const Tensor& u, const HsmPast& past) const override {
    const Tensor of_u = columns(up_->value, 0, head_width_);
    const Tensor of_z = columns(up_->value, head_width_, 2 * head_width_);
    const Tensor hidden = head_linear(u, of_u, past.shifted(u), of_z, up_bias_->value);
    return head_linear(gelu(hidden), down_->value, down_bias_->value);
  }

  double operations() const override { return 2.0 * static_cast<double>(up_->shape.numel() + down_->shape.numel()); }

 private:
  std::int64_t head_width_;
  const Parameter* up_;
  const Parameter* up_bias_;
  const Parameter* down_;
  const Parameter* down_bias_;
};

}  // namespace

Tensor HsmPast::shifted(const Tensor& u) const {
  return ring == nullptr ? shift(u, options) : shift_cached(u, *ring, position, options);
}

std::unique_ptr<HsmMixing> make_hsm_mixing(const HsmSetup& setup) {
  switch (setup.layer.variant) {
#define HSM_VARIANT(name, class) \
  case HsmVariant::name:         \
    return std::make_unique<class>(setup);
#include "nn/config/hsm_variants.def"
#undef HSM_VARIANT
  }
  return nullptr;
}

}  // namespace mixgrad
