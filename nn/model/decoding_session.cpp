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

TokenDraw* DecodingSession::draw() {
  if constexpr (build::has_cuda) {
    if (graph_ && !draw_) draw_ = cuda::make_token_draw(state_.batch, model_.device());
  }
  return draw_.get();
}

Tensor DecodingSession::step_drawn() {
  MIXGRAD_ASSERT(graph_ && draw_, "tokens drawn on a CUDA device");
  return graph_->step_of(draw_->on_device());
}

}  // namespace mixgrad
