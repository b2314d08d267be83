#include "nn/model/decoding_session.h"

#include "core/build.h"
#include "core/error.h"

namespace mixgrad {

DecodingSession::DecodingSession(const Decoder& model, std::int64_t batch, std::int64_t max_tokens)
    : model_(model), state_(model.new_state(batch, max_tokens)) {
  if constexpr (build::has_cuda) {
    if (model.device().is_cuda() && !model.context().check_devices) graph_ = cuda::make_step_graph(model_, state_);
  }
}

Tensor DecodingSession::prefill(const Tensor& tokens) { return model_.prefill(tokens, state_); }

Tensor DecodingSession::step(const Tensor& tokens) {
  if (tokens.shape().rank() != 2 || tokens.dim(1) != 1) {
    raise<ShapeError>("decoding session: a step takes one token of each sequence, [B,1], got ", tokens.shape(),
                      "; prefill takes more");
  }
  return graph_ ? graph_->step(tokens) : model_.step(tokens, state_);
}

}  // namespace mixgrad
