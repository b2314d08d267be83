// Muon (Jordan et al., 2024, as in modded-nanogpt): every matrix of the hidden layers moves by its momentum made
// orthogonal; all other parameters by AdamW.
//   g  = gradient min(1, clip / (|gradient| + 1e-6)),  |.| over all trainable parameters
//   m  = momentum m + g,    u = g + momentum m                                     (Nesterov)
//   X  = u / |u|,  five times  X <- a X + b (X X^T) X + c (X X^T)^2 X,  (a, b, c) = (3.4445, -4.7750, 2.0315)
//   p <- p (1 - rate weight_decay) - rate sqrt(max(1, outputs/inputs)) X,  rate = muon_lr lr_t / lr
// |u| is the Frobenius norm, lr_t / lr the schedule's rate relative to the one that it starts from. The iterations take
// X or its transpose, whichever has fewer rows, and bring its singular values near 1 (0.7 to 1.2).
// A matrix of a hidden layer is a parameter of two or three axes with weight decay, but for embeddings, positions, the
// head and convolutions; of three axes [R,outputs,inputs], each of the R matrices moves by itself.
// State: NAME.momentum of such matrices, NAME.m and NAME.v of the others. Cost of a matrix of n rows and k >= n
// columns: 5 (4 n^2 k + 2 n^3) operations a step, whatever the batch.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/training/optimizers/adamw.h"
#include "nn/training/optimizers/optimizer.h"

namespace mixgrad {

struct MuonOptions {
  double muon_lr = 0.02;
  double momentum = 0.95;
  double beta1 = 0.9;  // these three of AdamW
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;    // of both
  double clip = 1.0;            // largest gradient norm; must be above 0
  double learning_rate = 1e-3;  // from which the schedule starts
};

// Does Muon move it as a matrix?
bool is_hidden_matrix(const Parameter& parameter);

class Muon final : public Optimizer {
 public:
  Muon(ParameterSet& parameters, const MuonOptions& options);  // ValueError for an option outside its range

  std::vector<NamedTensor> state() const override;

 private:
  void queue_update(const Tensor& gradient) override;
  void refresh_other_blocks();

  MuonOptions options_;
  FlatLayout layout_;
  Tensor first_, second_;           // flat: momentum of hidden matrices and first moments of the others; second moments
  Tensor scalars_;                  // of AdamW
  std::vector<std::int32_t> rows_;  // the content of other_blocks_
  Tensor other_blocks_;             // as blocks(), with hidden matrices as if they were frozen
};

// For its kernel.
struct MuonConstants {
  double relative_rate;  // muon_lr / lr, times Parameter::lr_scale
  double momentum, weight_decay;
};

// One parameter, [R,outputs,inputs] or [outputs,inputs]: views of the flat buffers.
struct MuonMatrices {
  Tensor gradient, momentum, master;
  Tensor copy;  // the master in bf16; undefined where the master is used as it is

  template <class F>
  void each_tensor(const F& visit) {
    for (Tensor* tensor : {&gradient, &momentum, &master, &copy}) visit(*tensor);
  }
};

// The iterations' constants, and how often they run.
inline constexpr double kMuonA = 3.4445;
inline constexpr double kMuonB = -4.7750;
inline constexpr double kMuonC = 2.0315;
inline constexpr int kMuonIterations = 5;
inline constexpr double kMuonSmallest = 1e-7;  // added to the norm

}  // namespace mixgrad

// `progress`: optimizer_kernels.h. Nothing is written while it is halted.
MIXGRAD_KERNELS(void muon_update(const MuonMatrices& matrices, const MuonConstants& constants, const Tensor& progress);)
