#include "autograd/recompute.h"

#include "core/error.h"

namespace mixgrad {
namespace {

thread_local Intermediates t_intermediates = Intermediates::kept;

}  // namespace

RecomputeScope::RecomputeScope(Intermediates intermediates) : outer_(t_intermediates) {
  t_intermediates = intermediates;
}
RecomputeScope::~RecomputeScope() { t_intermediates = outer_; }

bool recomputing() { return t_intermediates == Intermediates::recomputed && Tape::current() != nullptr; }

const OpSpec recomputed_spec{
    .name = "recomputed",
    .formula = "(y, z) = block(inputs)",
    .gradient = "those of the block's operators, which are run again",
    .saves = "the inputs",
    .inputs = 3,
    .outputs = 2,
    .differentiable = {0, 1, 2},
    .roles = {InputRole::activation, InputRole::activation, InputRole::activation},
    .backward = [](BackwardContext&) { MIXGRAD_ASSERT(false, "Tape::run runs the block"); },
};

RecomputeOutputs run_recomputed(const RecomputedBlock& block, const RecomputeInputs& inputs) {
  RecomputeOutputs outputs;
  {
    const Tape unrecorded;  // watches nothing
    RecomputeInputs untracked;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].defined()) untracked[i] = inputs[i].detach();
    }
    outputs = block.run(block.block.data(), untracked);
  }
  for (Tensor& output : outputs) output = output.detach();
  record(recomputed_spec, {&inputs[0], &inputs[1], &inputs[2]}, {&outputs[0], &outputs[1]},
         {&inputs[0], &inputs[1], &inputs[2]}, block);
  return outputs;
}

}  // namespace mixgrad
