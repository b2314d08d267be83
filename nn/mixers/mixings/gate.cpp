// gate_single and gate_double: y = g u + (1 - g) z, with g = sigmoid(W u + c) or sigmoid(W u + W' z + c).
#include "nn/mixers/hsm_mixing.h"
#include "ops/gate_blend/gate_blend.h"
#include "ops/head_linear/head_linear.h"

namespace mixgrad {
namespace {

class GateMixing : public HsmMixing {
 public:
  explicit GateMixing(const HsmSetup& setup) : u_(setup.add_matrices("gate_u.weight", setup.head_matrices())) {
    if (setup.layer.variant == HsmVariant::gate_double) {
      z_ = setup.add_matrices("gate_z.weight", setup.head_matrices());
    }
    bias_ = setup.add_bias("gate.bias", {setup.width});
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
  const Parameter* z_ = nullptr;  // gate_double only
  const Parameter* bias_;
};

}  // namespace

std::unique_ptr<HsmMixing> make_gate_mixing(const HsmSetup& setup) { return std::make_unique<GateMixing>(setup); }

}  // namespace mixgrad
