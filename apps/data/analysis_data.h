// The sequences on which a trained model is analysed: of a text or other tokens, or of a task.
#pragma once

#include <optional>
#include <string>

#include "apps/options/model_options.h"
#include "nn/analysis/sample_sequences.h"
#include "nn/data/tasks/task.h"

namespace mixgrad::app {

class AnalysisData {
 public:
  explicit AnalysisData(TokenData data) : data_(std::move(data)) {}
  explicit AnalysisData(TaskPtr task) : task_(std::move(task)) {}

  bool is_task() const { return task_ != nullptr; }
  std::string source() const { return is_task() ? task_->text() : data_->source(); }

  // At most `most` sequences of `length` tokens (those of a task have their own length, which must not be more) of a
  // split: valid, train or all. Those of a task are others for train than for the rest, as far as the task has enough.
  SampledSequences sample(const std::string& split, std::int64_t length, std::int64_t most) const;

 private:
  std::optional<TokenData> data_;
  TaskPtr task_;
};

// The data of `text` (its --task or --data), or those of the checkpoint's own run. As open_checkpoint_text.
AnalysisData open_analysis_data(const std::string& verb, const std::string& checkpoint, const TokenizerPtr& tokenizer,
                                const ModelOptions& text);

// Whether the checkpoint is one of a run, which knows its data.
bool knows_its_data(const std::string& checkpoint);

}  // namespace mixgrad::app
