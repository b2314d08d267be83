#include "apps/run/open_run.h"

#include <utility>

#include "core/error.h"
#include "core/text/plural.h"
#include "nn/training/checkpoint.h"

namespace mixgrad::app {

OpenedRun open_run(const ModelOptions& options, const OpenRunOptions& run) {
  if (!run.weights.empty()) {
    Checkpoint checkpoint = load_checkpoint(run.weights, run.placement);
    TokenData data = options.open_data(checkpoint.tokenizer, run.identify);
    if (run.use == TextUse::batches) data.check_context(checkpoint.model->config().context);
    return {std::move(checkpoint.model), std::move(data)};
  }
  TokenData data = options.open_data(run.identify);
  const ModelConfig config = options.config(data.tokenizer().vocab_size());
  if (run.use == TextUse::batches) data.check_context(config.context);
  auto model = std::make_unique<Decoder>(config, run.placement);
  options.initialize(*model, run.seed);
  return {std::move(model), std::move(data)};
}

ModelConfig task_model_config(const ModelOptions& options, const Task& task) {
  ModelOptions own = options;
  own.context = task.length();
  own.vocab = 0;
  return own.config(task.vocabulary());
}

OpenedTaskRun open_task_run(const ModelOptions& options, const OpenRunOptions& run) {
  TaskBatches batches(parse_task(options.task));
  const Task& task = batches.task();
  if (run.weights.empty()) {
    auto model = std::make_unique<Decoder>(task_model_config(options, task), run.placement);
    options.initialize(*model, run.seed);
    return {std::move(model), std::move(batches)};
  }
  std::unique_ptr<Decoder> model = load_checkpoint(run.weights, run.placement).model;
  batches.check_context(model->config().context);
  if (model->config().vocab_size < task.vocabulary()) {
    raise<ValueError>(task.text(), ": a model with at least ", count_text(task.vocabulary(), "token"),
                      " is required; that of ", run.weights.string(), " has ", model->config().vocab_size,
                      "; take a task with a smaller vocabulary");
  }
  return {std::move(model), std::move(batches)};
}

}  // namespace mixgrad::app
