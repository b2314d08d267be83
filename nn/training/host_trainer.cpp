#include "nn/training/host_trainer.h"

#include <cmath>

namespace mixgrad {

HostTrainer::HostTrainer(Decoder& model, Optimizer& optimizer, const BatchStream& data, const Options& options)
    : data_(data),
      options_(options),
      step_(model, optimizer, options.objective),
      tokens_(Tensor::empty({options.accumulate * options.batch, model.config().context}, DType::i32)),
      targets_(Tensor::empty(tokens_.shape(), DType::i32)) {
  data.check_context(model.config().context);
}

void HostTrainer::start(std::int64_t step, const Rng& rng) {
  rng_ = rng;
  result_ = {};
  result_.step = step;
  result_.rng_counter = rng.counter();
}

void HostTrainer::queue() {
  if (result_.halted) return;
  const RecomputeScope scope(options_.intermediates);
  result_.loss = accumulate_batches(step_, data_, rng_, options_.accumulate, tokens_, targets_,
                                    {options_.dropout, result_.step}, StepRanks::of(options_.ranks, options_.reduce));
  result_.learning_rate = options_.schedule.at(result_.step);
  // A loss that is not finite must not reach the weights, whatever its gradients are.
  result_.gradient_norm = std::isfinite(result_.loss) ? step_.apply(result_.learning_rate) : step_.discard();
  result_.halted = !std::isfinite(result_.loss) || !std::isfinite(result_.gradient_norm);
  if (result_.halted) return;
  ++result_.step;
  result_.rng_counter = rng_.counter();
}

}  // namespace mixgrad
