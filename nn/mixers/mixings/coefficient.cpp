// scalar and vector: y = a u + b z, a and b for each head or for each channel. One operator does it all: z is never
// stored.
#include "nn/mixers/hsm_mixing.h"
#include "ops/shift_mix/shift_mix.h"

namespace mixgrad {
namespace {

class CoefficientMixing : public HsmMixing {
 public:
  explicit CoefficientMixing(const HsmSetup& setup) : width_(setup.width) {
    const Shape shape{setup.layer.variant == HsmVariant::scalar ? setup.layer.heads : setup.width};
    a_ = setup.parameters.add(setup.prefix + ".a", shape, Init::constant(kHsmScale), false);
    b_ = setup.parameters.add(setup.prefix + ".b", shape, Init::constant(kHsmScale), false);
  }

  Tensor forward(const Tensor& u, const HsmPast& past) const override {
    if (past.ring == nullptr) return shift_mix(u, a_->value, b_->value, past.options);
    return shift_mix_cached(u, a_->value, b_->value, *past.ring, past.position, past.options);
  }

  Tensor forward_normed(const NormedInput& u, const HsmPast& past) const override {
    if (past.ring != nullptr) {
      const std::optional<Tensor> y = u.in_one_by([&](const Tensor& x, const Tensor& added, const RowNorm& norm) {
        return normed_shift_mix_cached(x, added, norm, a_->value, b_->value, *past.ring, past.position, past.options);
      });
      if (y) return *y;
    }
    return forward(u.tensor(), past);
  }

  double operations() const override { return 3.0 * static_cast<double>(width_); }

 private:
  std::int64_t width_;
  const Parameter* a_;
  const Parameter* b_;
};

}  // namespace

std::unique_ptr<HsmMixing> make_coefficient_mixing(const HsmSetup& setup) {
  return std::make_unique<CoefficientMixing>(setup);
}

}  // namespace mixgrad
