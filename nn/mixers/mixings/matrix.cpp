// matrix: y = A u + B z + c, with matrices A and B for each head.
#include "nn/mixers/hsm_mixing.h"
#include "ops/head_linear/head_linear.h"

namespace mixgrad {
namespace {

class MatrixMixing : public HsmMixing {
 public:
  explicit MatrixMixing(const HsmSetup& setup)
      : u_(setup.add_matrices("u.weight", setup.head_matrices())),
        z_(setup.add_matrices("z.weight", setup.head_matrices())),
        bias_(setup.add_bias("bias", {setup.width})) {}

  Tensor forward(const Tensor& u, const HsmPast& past) const override {
    return head_linear(u, u_->value, past.shifted(u), z_->value, bias_->value);
  }

  double operations() const override { return 2.0 * static_cast<double>(u_->shape.numel() + z_->shape.numel()); }

 private:
  const Parameter* u_;
  const Parameter* z_;
  const Parameter* bias_;
};

}  // namespace

std::unique_ptr<HsmMixing> make_matrix_mixing(const HsmSetup& setup) { return std::make_unique<MatrixMixing>(setup); }

}  // namespace mixgrad
