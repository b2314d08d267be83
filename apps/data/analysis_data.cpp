#include "apps/data/analysis_data.h"

#include "apps/data/checkpoint_text.h"
#include "apps/data/run_text.h"
#include "apps/output/error_line.h"
#include "core/error.h"
#include "core/text/plural.h"
#include "nn/data/task_batches.h"
#include "nn/files/generations.h"

namespace mixgrad::app {
namespace {

constexpr std::uint64_t kTaskSeed = 1;
// Sequences of a task beside those of evaluations.
constexpr std::uint64_t kFirstTaskFit = kFirstTaskEvaluation + (std::uint64_t{1} << 32U);

}  // namespace

SampledSequences AnalysisData::sample(const std::string& split, std::int64_t length, std::int64_t most) const {
  if (!is_task()) return sample_sequences(*data_, data_->split(split), length, most);
  if (split == "all") {
    raise<ValueError>(task_->text(), ": a task has no end, so that not all of it can be taken; got the split all; ",
                      "choose valid or train");
  }
  if (task_->length() > length) {
    raise<ValueError>(task_->text(), ": sequences of at most ", count_text(length, "token"),
                      ", the model's context, are required; these have ", task_->length(), "; choose a shorter task");
  }
  return sample_sequences(*task_, kTaskSeed, split == "train" ? kFirstTaskFit : kFirstTaskEvaluation, most);
}

AnalysisData open_analysis_data(const std::string& verb, const std::string& checkpoint, const TokenizerPtr& tokenizer,
                                const ModelOptions& text) {
  std::string task = text.task;
  if (task.empty() && text.data.empty() && knows_its_data(checkpoint)) {
    task = text_of_run(verb, checkpoint).task;
    if (!task.empty()) say("the task is the one that " + checkpoint + " was trained on, " + task);
  }
  if (task.empty()) return AnalysisData(open_checkpoint_text(verb, checkpoint, tokenizer, text));
  TaskPtr parsed = parse_task(task);
  if (parsed->vocabulary() > tokenizer->vocab_size()) {
    raise<ValueError>(verb, ": ", parsed->text(), ": a model with at least ", count_text(parsed->vocabulary(), "token"),
                      " is required; that of ", checkpoint, " has ", tokenizer->vocab_size(),
                      "; take a task with a smaller vocabulary");
  }
  return AnalysisData(std::move(parsed));
}

bool knows_its_data(const std::string& checkpoint) {
  std::error_code error;
  return std::filesystem::exists(find_generation(checkpoint) / "trainer.json", error);
}

}  // namespace mixgrad::app
