// Decoding on a CUDA device with a whole step in one graph: a decoder's kernels for one token, captured once and
// replayed for every further one. Nothing but the tokens and their position goes to the device, in one small kernel
// before the graph; what depends on the position reads it there (core/numeric/token_position.h). The bits are those of
// Decoder::step on the device.
//
// The first step runs kernel by kernel (it uploads constant tables and loads kernels), the second is captured. With
// rotary positions the table of angles doubles from time to time: then both happen again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "nn/model/decoder.h"

namespace mixgrad {

class StepGraph {
 public:
  virtual ~StepGraph() = default;

  // The next token of each sequence, [B,1] on either device -> its logits [B,1,V], in memory that the next step may
  // write again. Throws what Decoder::step throws.
  virtual Tensor step(const Tensor& tokens) = 0;
  // The same for tokens [B] that lie on the device, such as drawn ones (nn/model/token_draw.h): an id outside the
  // vocabulary gives logits that are not finite.
  virtual Tensor step_of(const std::int32_t* tokens) = 0;
  virtual std::size_t nodes() const = 0;      // of the graph, 0 before the first capture
  virtual std::int64_t captures() const = 0;  // so far
};

namespace cuda {
// The model lies on a CUDA device and the state is one of its new_state. Both are kept by reference; between steps the
// state may be prefilled and reset, but its tensors must stay.
std::unique_ptr<StepGraph> make_step_graph(const Decoder& model, DecoderState& state);
}  // namespace cuda

}  // namespace mixgrad
