#include "nn/training/trainer.h"

#include "core/build.h"
#include "core/error.h"
#include "nn/training/graph_trainer.h"
#include "nn/training/host_trainer.h"

namespace mixgrad {

std::unique_ptr<Trainer> make_trainer(Decoder& model, Optimizer& optimizer, const BatchStream& data,
                                      const Trainer::Options& options) {
  const int ranks = options.ranks == nullptr ? 1 : options.ranks->size();
  if (options.batch < ranks) {
    raise<ValueError>("trainer: a batch must have a sequence for each of the ", ranks, " ranks; got ", options.batch,
                      "; give a larger --batch, or start fewer ranks");
  }
  if (options.ranks != nullptr && options.reduce.order == ReduceOrder::rank && !model.device().is_cpu()) {
    raise<ValueError>("trainer: --reduce-order rank is for processes on CPUs; got the device ", model.device().str(),
                      ", on which the order is the same each time without it; leave it out");
  }
  if constexpr (build::has_cuda) {
    // A captured step has one shape, the documents of a batch have others each time.
    const bool one_shape = !data.document_start().has_value();
    const bool own_loss = options.objective == nullptr;
    const bool captures = model.device().is_cuda() && !model.context().check_devices && one_shape && own_loss;
    if (captures) return cuda::make_graph_trainer(model, optimizer, data, options);
  }
  return std::make_unique<HostTrainer>(model, optimizer, data, options);
}

}  // namespace mixgrad
