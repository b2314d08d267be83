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
// Start: a = b = init_scale, matrices normal(0.02), biases 0. The biases are there whatever `bias` of the model says.
// A class for each line or two, named in hsm_variants.def; nn/README.md shows how to add one.
#pragma once

#include <memory>
#include <string>

#include "nn/config/model_config.h"
#include "nn/modules/parameter.h"
#include "ops/shift/shift.h"

namespace mixgrad {

// Where z comes from: the same sequence s tokens earlier, or the ring of a sequence that goes on.
struct HsmPast {
  ShiftOptions options;
  const Tensor* ring = nullptr;  // null: the sequence starts here
  TokenPosition position = 0;    // tokens that the ring has seen

  Tensor shifted(const Tensor& u) const;  // z; the ring, if any, takes up u
};

// What a mixing is made from.
struct HsmSetup {
  ParameterSet& parameters;
  const std::string& prefix;
  std::int64_t width;  // D
  const HsmConfig& layer;
  double init_scale;

  std::int64_t head_width() const { return width / layer.heads; }
};

class HsmMixing {
 public:
  virtual ~HsmMixing() = default;
  virtual Tensor forward(const Tensor& u, const HsmPast& past) const = 0;  // [B,T,D] -> [B,T,D]; asks past for z once
  virtual double operations() const = 0;                                   // of one token
};

std::unique_ptr<HsmMixing> make_hsm_mixing(const HsmSetup& setup);

}  // namespace mixgrad
