// One training step, recorded operator by operator, forward and backward: every value and every gradient as a small
// picture.
//   const StepWalk walk = step_walk(model, tokens);   walk.entries[0].spec->name;   walk.parameters[3].gradient
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "autograd/gradcheck.h"
#include "autograd/op_spec.h"
#include "nn/model/decoder.h"

namespace mixgrad {

// A tensor, small enough to be drawn: its last axis lies across, all others down; where that is more than
// kPictureRows x kPictureColumns, a cell is the mean of its neighbours'.
struct TensorPicture {
  Shape shape;
  double low = 0, high = 0, mean = 0, size = 0;  // size: the root of the mean of squares
  std::int64_t rows = 0, columns = 0;            // of cells
  std::vector<double> cells;                     // [rows,columns]
};

inline constexpr std::int64_t kPictureRows = 24, kPictureColumns = 48;
TensorPicture picture_of(const Tensor& tensor);

struct StepEntry {
  const OpSpec* spec = nullptr;
  std::vector<std::string> parameters;  // for each input of the spec: the name of the parameter that it is (a part of)
  std::vector<TensorPicture> outputs;
  std::vector<Shape> saved;
  std::size_t saved_bytes = 0;
  // For each input after the entry's backward: what its gradient is then, those of later operators included. None for
  // an input without a gradient.
  std::vector<std::optional<TensorPicture>> gradients;
};

struct StepParameter {
  std::string name;
  TensorPicture value;
  std::optional<TensorPicture> gradient;  // none when it is frozen
};

struct StepWalk {
  double loss = 0;  // nats a token
  std::vector<StepEntry> entries;
  std::vector<StepParameter> parameters;
};

// The step on the sequence `tokens` (at least 2, at most the context and one more): each token but the last predicts
// the next. The model stays as it is. ValueError for another number of tokens.
StepWalk step_walk(Decoder& model, const std::vector<std::int32_t>& tokens);

// The gradient check of that very step (autograd/gradcheck.h): directions through all parameters, and one through each.
// The tolerance: steps of Mamba heads in a new model have derivatives of 1e-7 of a loss of some nats, of which
// differences of f64 numbers give six digits. A gradient with an error of 0.1 % is still rejected.
// ValueError unless the model is in f64 on the host.
inline constexpr double kStepTolerance = 1e-5;
GradcheckReport check_step(Decoder& model, const std::vector<std::int32_t>& tokens);

}  // namespace mixgrad
