// fusion: y = W2 gelu(W1 [u; z] + b1) + b2, a small network for each head with F = `hidden` units.
// W1 [u; z] = (left half of W1) u + (right half) z, so nothing is concatenated.
#include "autograd/tape.h"
#include "nn/mixers/hsm_mixing.h"
#include "ops/elementwise/elementwise.h"
#include "ops/head_linear/head_linear.h"

namespace mixgrad {
namespace {

class FusionMixing : public HsmMixing {
 public:
  explicit FusionMixing(const HsmSetup& setup) : head_width_(setup.head_width()) {
    const std::int64_t heads = setup.layer.heads;
    const std::int64_t hidden = setup.layer.option("hidden");
    up_ = setup.add_matrices("up.weight", {heads, hidden, 2 * head_width_});
    up_bias_ = setup.add_bias("up.bias", {heads, hidden});
    down_ = setup.add_matrices("down.weight", {heads, head_width_, hidden});
    down_bias_ = setup.add_bias("down.bias", {setup.width});
  }

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

std::unique_ptr<HsmMixing> make_fusion_mixing(const HsmSetup& setup) { return std::make_unique<FusionMixing>(setup); }

}  // namespace mixgrad
