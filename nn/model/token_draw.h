// Drawing the next tokens on a CUDA device: nothing but their ids comes back to the host, and the next step can be
// queued before they do (DecodingSession::draw).
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/tensor.h"
#include "nn/model/sampling.h"

namespace mixgrad {

class TokenDraw {
 public:
  virtual ~TokenDraw() = default;

  // Queues the drawing of one token for each row of logits [B,1,V], of the ids below `vocabulary`, as sample_token()
  // does it with the row's number of `uniforms`: B numbers in [0,1), none at temperature 0. The logits may be
  // overwritten by what is queued afterwards.
  virtual void draw(const Tensor& logits, std::int64_t vocabulary, const SamplingOptions& options,
                    std::span<const double> uniforms) = 0;
  // Where the device has the ids, [B]. They are there for what is queued after draw().
  virtual const std::int32_t* on_device() const = 0;

  struct Drawn {
    std::int32_t id = 0;
    std::int32_t finite = 1;  // 0: there is a logit that is not finite, and the id means nothing
    double logit = 0;         // the first such
  };
  // Waits for the tokens of the last draw(). The memory is written again by the next one.
  virtual std::span<const Drawn> wait() = 0;
};

namespace cuda {
// For `batch` rows.
std::unique_ptr<TokenDraw> make_token_draw(std::int64_t batch, Device device);
}  // namespace cuda

}  // namespace mixgrad
