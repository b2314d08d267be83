#include "nn/data/task_batches.h"

#include <algorithm>
#include <string>

#include "core/error.h"
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
  TaskSequence sequence;
  auto* inputs = tokens.data<std::int32_t>();
  auto* wanted = targets.data<std::int32_t>();
  for (std::int64_t b = 0; b < tokens.dim(0); ++b, inputs += length, wanted += length) {
    task_->sequence(rng.seed(), rng.counter(), sequence);
    rng = Rng(rng.seed(), rng.counter() + 1);
    std::copy(sequence.tokens.begin(), sequence.tokens.end(), inputs);
    std::copy(sequence.targets.begin(), sequence.targets.end(), wanted);
  }
}

void TaskBatches::check_context(std::int64_t context) const {
  if (context == task_->length()) return;
  raise<ValueError>(task_->text(), ": training needs a model whose context is the length of a sequence, ",
                    count_text(task_->length(), "token"), "; this one has a context of ", context,
                    "; choose a task of that length, or a new model");
}

}  // namespace mixgrad
