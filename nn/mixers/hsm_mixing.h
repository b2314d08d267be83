// How a shift-mixing layer joins each token u_t with the one s before it, z_t = u_{t-s}:  y_t = f(u_t, z_t).
//
//   variant        y                                                   parameters under PREFIX (dh = D/H)
//   scalar         a_h u + b_h z                                       a, b [H]
//   vector         a u + b z, channel by channel                       a, b [D]
//   matrix         A u + B z + c, a matrix for each head               u.weight, z.weight [H,dh,dh], bias [D]
//   gate_single    g u + (1 - g) z, g = sigmoid(W u + c)               gate_u.weight [H,dh,dh], gate.bias [D]
//   gate_double    the same, g = sigmoid(W u + W' z + c)               and gate_z.weight [H,dh,dh]
//   fusion         W2 gelu(W1 [u; z] + b1) + b2, F hidden for a head   up.weight [H,F,2dh], up.bias [H,F],
//                                                                      down.weight [H,dh,F], down.bias [D]
//
// Start: a = b = kHsmScale, matrices normal(0.02), biases 0. The biases are there whatever `bias` of the model says.
// Each line of nn/config/hsm_variants.def names the file in nn/mixers/mixings/ that has its formula; nn/README.md shows
// how to add one. A program that uses the library adds its own with register_hsm_mixing.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "nn/config/kinds/hsm.h"
#include "nn/modules/layers.h"
#include "nn/modules/parameter.h"

namespace mixgrad {

inline constexpr double kHsmScale = 0.05;

// Where z comes from: the same sequence s tokens earlier, or the ring of a sequence that is decoded piece by piece.
struct HsmPast {
  ShiftOptions options;
  const Tensor* ring = nullptr;  // null: the sequence starts here
  TokenPosition position = 0;    // of the first token; the ring holds the ones before it

  // z. With a ring this also stores u in it, so a mixing calls it once for each forward().
  Tensor shifted(const Tensor& u) const;
};

// What a mixing is made from.
struct HsmSetup {
  ParameterSet& parameters;
  const std::string& prefix;
  std::int64_t width;  // D
  const HsmConfig& layer;

  std::int64_t head_width() const { return width / layer.heads; }
  // A matrix [dh,dh] for each head.
  Shape head_matrices() const { return {layer.heads, head_width(), head_width()}; }

  // Parameters PREFIX.NAME as most mixings have them: normal(0.02) with weight decay; zero without.
  const Parameter* add_matrices(const char* name, const Shape& shape) const;
  const Parameter* add_bias(const char* name, const Shape& shape) const;
};

class HsmMixing {
 public:
  virtual ~HsmMixing() = default;
  virtual Tensor forward(const Tensor& u, const HsmPast& past) const = 0;  // [B,T,D] -> [B,T,D]; calls shifted() once
  // The same of an input that may still have to be normed; a mixing that can do both in one kernel does.
  virtual Tensor forward_normed(const NormedInput& u, const HsmPast& past) const { return forward(u.tensor(), past); }
  virtual double operations() const = 0;  // of one token
};

using MakeHsmMixing = std::function<std::unique_ptr<HsmMixing>(const HsmSetup& setup)>;

std::unique_ptr<HsmMixing> make_hsm_mixing(const HsmSetup& setup);

// Adds a mixing under a name of its own: `--mixer hsm:NAME` and config.json know it from then on, and the laws of
// mixers run on it. ValueError when the name is empty or taken, or `make` is missing.
HsmVariant register_hsm_mixing(const HsmVariantKind& kind, const MakeHsmMixing& make);

// How the built-in mixings are made, each defined in nn/mixers/mixings/FILE.cpp.
#define HSM_VARIANT(name, file, ...) std::unique_ptr<HsmMixing> make_##file##_mixing(const HsmSetup& setup);
#include "nn/config/hsm_variants.def"
#undef HSM_VARIANT

}  // namespace mixgrad
