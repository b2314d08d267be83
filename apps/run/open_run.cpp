#include "apps/run/open_run.h"

#include <utility>

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

}  // namespace mixgrad::app
