// A mixing f(u, z) of shift mixing, outside the library, with matrices of its own: each head joins a token u with the
// one s before it, z, by
//   y = B silu(A (u + z)) + c       A, B [H,dh,dh], c [D]
// It is registered under a name, which `hsm:residue` then means everywhere, and checked by the laws of mixers.
#include <cstdio>

#include "mixgrad/mixgrad.h"
#include "nn/mixers/laws/mixer_laws.h"

using namespace mixgrad;

namespace {

class ResidueMixing : public HsmMixing {
 public:
  explicit ResidueMixing(const HsmSetup& setup)
      : a_(setup.add_matrices("a.weight", setup.head_matrices())),
        b_(setup.add_matrices("b.weight", setup.head_matrices())),
        c_(setup.add_bias("c.bias", {setup.width})) {}

  // past.shifted(u) is z: of a whole sequence, or from the ring of one that is decoded piece by piece.
  Tensor forward(const Tensor& u, const HsmPast& past) const override {
    return head_linear(silu(head_linear(add(u, past.shifted(u)), a_->value)), b_->value, c_->value);
  }

  double operations() const override { return 2.0 * static_cast<double>(a_->shape.numel() + b_->shape.numel()); }

 private:
  const Parameter* a_;
  const Parameter* b_;
  const Parameter* c_;
};

}  // namespace

int main() try {
  const HsmVariant residue = register_hsm_mixing(
      {.name = "residue"},
      [](const HsmSetup& setup) -> std::unique_ptr<HsmMixing> { return std::make_unique<ResidueMixing>(setup); });

  ModelConfig config{.vocab_size = 65, .context = 32, .d_model = 16, .d_ff = 64};
  config.layers = expand_mixer_pattern("hsm:residue(heads=4),attention",
                                       {.layers = 2, .heads = 4, .context = config.context, .d_model = config.d_model});
  Decoder model(config, DType::f32);
  std::printf("hsm:residue and attention: %lld parameters\n", static_cast<long long>(model.parameters().count()));

  LayerKind kind = HsmConfig::kind();  // the laws run on these layers of it: several shifts, both starts of a sequence
  kind.forms = [residue](std::int64_t length) -> std::vector<LayerForm> {
    HsmConfig layer{.variant = residue, .heads = 4, .shifts = {1, 2, length, length + 1}};
    HsmConfig other = layer;
    other.boundary = Boundary::self;
    other.proj = HsmProjection::vo;
    return {{layer}, {other}};
  };
  std::size_t broken = 0;
  for (const std::string& failure : mixer_kind_failures(kind)) {
    std::printf("law broken: %s\n", failure.c_str());
    ++broken;
  }
  std::printf("laws of mixers: %zu broken\n", broken);
  return broken == 0 ? 0 : 1;
} catch (const Error& error) {
  std::fprintf(stderr, "custom_mixing: %s\n", error.what());
  return 1;
}
