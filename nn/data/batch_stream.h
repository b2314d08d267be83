// BatchStream: what a trainer draws its batches from, a text (token_data.h) or a task (task_batches.h).
//
//   stream.sample_batch(rng, tokens, targets);   // the batch of rng's counter, which moves on
#pragma once

#include <cstdint>
#include <optional>

#include "core/rng.h"
#include "core/tensor.h"

namespace mixgrad {

class TokenData;

class BatchStream {
 public:
  virtual ~BatchStream() = default;

  // The next batch: tokens, targets [B,T] i32, contiguous, on the host; a target of -1 does not count. A function of
  // the seed and the counter of rng alone, and of B only in so far as B rows are taken. Throws as the stream says.
  virtual void sample_batch(Rng& rng, const Tensor& tokens, const Tensor& targets) const = 0;

  // ValueError when no batch of this context can be drawn.
  virtual void check_context(std::int64_t context) const = 0;

  // The token at which a document begins, when nothing of the one before may reach it (nn/data/document_rows.h).
  virtual std::optional<std::int32_t> document_start() const { return std::nullopt; }

  // The text whose windows the batches are; null when batches are generated.
  virtual const TokenData* text() const = 0;

 protected:
  BatchStream() = default;
  BatchStream(const BatchStream&) = default;
  BatchStream(BatchStream&&) = default;
  BatchStream& operator=(const BatchStream&) = default;
  BatchStream& operator=(BatchStream&&) = default;
};

}  // namespace mixgrad
