#include "nn/data/task_batches.h"

#include <algorithm>
#include <string>

#include "core/error.h"
#include "core/parallel.h"
#include "core/text/plural.h"
#include "nn/files/hash.h"

namespace mixgrad {
namespace {

// Belongs to the sequences of all tasks; another one when a change of a generator changes them.
constexpr const char* kGenerators = " generators 1";

}  // namespace

TextId TaskBatches::id() const {
  const std::string text = task_->text() + kGenerators;
  return {text.size(), xxh3_hex(text)};
}

void TaskBatches::sample_batch(Rng& rng, const Tensor& tokens, const Tensor& targets) const {
  const std::int64_t length = task_->length();
  const bool same = tokens.defined() && targets.defined() && tokens.shape() == targets.shape();
  if (!same || tokens.shape().rank() != 2 || tokens.dim(1) != length) {
    raise<ShapeError>("task batch: tokens and targets must be two tensors [B,", length, "]; got ", tokens.shape(),
                      " and ", targets.shape(), "; take the length of the task");
  }
  auto* inputs = tokens.data<std::int32_t>();
  auto* wanted = targets.data<std::int32_t>();
  const std::uint64_t first = rng.counter();
  parallel_for(tokens.dim(0), [&](std::int64_t b) {
    thread_local TaskSequence sequence;  // its memory is used again by the next row
    task_->sequence(rng.seed(), first + static_cast<std::uint64_t>(b), sequence);
    std::copy(sequence.tokens.begin(), sequence.tokens.end(), inputs + b * length);
    std::copy(sequence.targets.begin(), sequence.targets.end(), wanted + b * length);
  });
  rng = Rng(rng.seed(), first + static_cast<std::uint64_t>(tokens.dim(0)));
}

void TaskBatches::check_context(std::int64_t context) const {
  if (context == task_->length()) return;
  raise<ValueError>(task_->text(), ": training needs a model whose context is the length of a sequence, ",
                    count_text(task_->length(), "token"), "; this one has a context of ", context,
                    "; choose a task of that length, or a new model");
}

}  // namespace mixgrad
