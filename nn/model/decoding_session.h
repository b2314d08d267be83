// Decoding of a sequence, or of B of them side by side: the state, and on a CUDA device the step as a replayed graph
// (nn/model/step_graph.h). On a CPU it only calls Decoder::prefill and step.
//   DecodingSession session(model, 1, model.config().context);
//   session.prefill(prompt);  Tensor logits = session.step(token);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "nn/model/decoder.h"
#include "nn/model/step_graph.h"
#include "nn/model/token_draw.h"

namespace mixgrad {

class DecodingSession {
 public:
  // The model is kept by reference. batch, max_tokens: as in Decoder::new_state.
  DecodingSession(const Decoder& model, std::int64_t batch, std::int64_t max_tokens);
  DecodingSession(const DecodingSession&) = delete;  // the graph refers to the state
  DecodingSession& operator=(const DecodingSession&) = delete;

  Tensor prefill(const Tensor& tokens);  // [B,T] -> logits [B,T,V]
  // [B,1] -> logits [B,1,V], the same bits as prefill. Read them before the next step, which may write there.
  Tensor step(const Tensor& tokens);
  void reset() { state_.reset(); }

  // On a CUDA device tokens are drawn where the logits are, and the next step takes them from there:
  //   session.draw()->draw(logits, vocabulary, options, uniforms);
  //   logits = session.step_drawn();  ...  session.draw()->wait();
  // null on a CPU, and when devices are compared.
  TokenDraw* draw();
  Tensor step_drawn();  // as step(), of the tokens that draw() has drawn

  const DecoderState& state() const { return state_; }
  std::size_t graph_nodes() const { return graph_ ? graph_->nodes() : 0; }  // 0: steps have run kernel by kernel
  std::int64_t captures() const { return graph_ ? graph_->captures() : 0; }

 private:
  const Decoder& model_;
  DecoderState state_;
  std::unique_ptr<StepGraph> graph_;  // null on a CPU
  std::unique_ptr<TokenDraw> draw_;   // made when it is asked for
};

}  // namespace mixgrad
