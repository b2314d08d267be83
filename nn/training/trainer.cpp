#include "nn/training/trainer.h"

#include "core/build.h"
#include "nn/training/graph_trainer.h"
#include "nn/training/host_trainer.h"

namespace mixgrad {

std::unique_ptr<Trainer> make_trainer(Decoder& model, Optimizer& optimizer, const BatchStream& data,
                                      const Trainer::Options& options) {
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
