// Optimizer: what checkpoints, the memory plan, trainers and the program know of a rule that turns gradients into
// steps.
//
//   const std::unique_ptr<Optimizer> optimizer = make_optimizer({.name = "adamw"}, model.parameters());  // registry.h
//   const double norm = optimizer->step(gradients, 1e-3);
//
// The base class does what every rule needs: it refuses a missing gradient, measures the norm, clips, stops at a number
// that is not finite, and counts the steps. A rule derives from it and gives two functions: state(), its tensors by
// name, and queue_update(), one update of the parameters. README.md of this folder shows how to add one.
//
// All that a step needs from outside (learning rate, loss) and all that it tells (norm, count, halted) lies in one
// StepProgress in the memory of the parameters' device. So the host can run a step by itself, step(), or a step can be
// captured in a CUDA graph and replayed, queue_step(), and both run the same kernels.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/numeric/bit_cast.h"
#include "nn/distributed/communicator.h"
#include "nn/modules/parameter.h"
#include "nn/training/optimizers/optimizer_kernels.h"

namespace mixgrad {

// A tensor of the optimizer's state, as optimizer.safetensors names it. `tensor` shares the optimizer's memory: what is
// copied into it is the optimizer's state from then on.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  const std::string& name() const { return name_; }

  // One step. Returns the norm of the gradients of all trainable parameters before clipping. GradError, naming it, when
  // a trainable parameter has no gradient. When the norm is not finite, nothing is written.
  double step(const Gradients& gradients, double learning_rate);

  // The norm alone.
  double norm_of(const Gradients& gradients);

  // Every tensor that a resumed run needs, in a fixed order. A number that belongs to the state, other than the count
  // of steps, is a tensor of one element.
  virtual std::vector<NamedTensor> state() const = 0;

  // Divides the state, the masters of a bf16 model and the update over the ranks of a job (`--shard optimizer`). From
  // then on each rank keeps those of its own share of the parameters alone and updates that share; after each update
  // the ranks exchange the shares. Of the gradients a rank needs the sums over ranks of its own share alone
  // (Communicator::sum_at_owners). The weights are those without, to the bit where the gradients are. All ranks call
  // it, and then take the same steps. `ranks` is kept by reference. ValueError for a rule that cannot be divided.
  void shard(Communicator& ranks);
  bool sharded() const { return ranks_ != nullptr; }
  // Where the share of each rank begins in the flat buffers, and the end of the last [ranks + 1]; empty unless sharded.
  std::span<const std::int64_t> share_begins() const { return share_begins_; }
  // Called by all ranks together: gathers the whole state in the host memory of rank 0, where state() and
  // Parameter::master give it until it is dropped.
  void collect_state();
  void drop_collected_state();

  // Steps that changed the parameters; a resumed run sets the count after it has filled the tensors of state().
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }

  // Queues a step that needs nothing from the host, so that it can be captured: it reads learning_rate and loss from
  // progress(), and writes norm, steps and halted there. Once halted, a step changes nothing until write_progress()
  // clears that. steps() does not follow; call set_steps() when the steps have run.
  void queue_step(const Gradients& gradients);
  const Tensor& progress() const { return progress_; }  // [StepProgress::kNumbers] f64, on the parameters' device
  StepProgress read_progress() const;                   // waits for the device
  void write_progress(const StepProgress& progress);

 protected:
  // `name` begins error texts. Gradients are scaled by min(1, clip / (norm + 1e-6)); ValueError unless clip > 0.
  Optimizer(std::string name, ParameterSet& parameters, double clip);

  // Queues the update with `gradient`, flat like the parameters. Norm and scale are known by then. An update writes
  // nothing while progress().halted is 1, nor to a block whose parameter is frozen.
  virtual void queue_update(const Tensor& gradient) = 0;

  ParameterSet& parameters() { return parameters_; }
  const ParameterSet& parameters() const { return parameters_; }
  // The blocks that this process updates: [blocks, 4] i32, see optimizer_kernels.h.
  const Tensor& blocks() const { return own_blocks_; }

  // The tensors of the state that shard() divides; each is flat, with the layout of the parameters. In queue_update()
  // the entry of parameter j is at j - share_begin().
  virtual std::vector<Tensor*> divided_state() { return {}; }
  std::int64_t share_begin() const { return sharded() ? share_begins_[own_rank()] : 0; }
  // Tensor i of divided_state(): the collected one, or where none has been collected `own`.
  const Tensor& whole(std::size_t i, const Tensor& own) const { return collected_.empty() ? own : collected_[i]; }

  // The table of blocks (optimizer_kernels.h): its rows, whose flags are unlike any, and their flags and rates for the
  // parameters as they are now. `moves(parameter)`: is it trainable for these kernels? Returns whether a row changed.
  static std::vector<std::int32_t> block_rows(const ParameterSet& parameters, const FlatLayout& layout);
  template <class Moves>
  static bool refresh_rows(const ParameterSet& parameters, std::vector<std::int32_t>& rows, const Moves& moves) {
    bool changed = false;
    std::size_t row = 0;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Parameter& parameter = parameters[i];
      const std::int32_t flags = (moves(parameter) ? kBlockTrainable : 0) | (parameter.decay ? kBlockDecays : 0);
      const auto scale = bit_cast<std::int32_t>(static_cast<float>(parameter.lr_scale));
      const std::int64_t count = (parameter.shape.numel() + kBlockElements - 1) / kBlockElements;
      for (std::int64_t b = 0; b < count; ++b, row += kBlockColumns) {
        changed = changed || rows[row + 2] != flags || rows[row + 3] != scale;
        rows[row + 2] = flags;
        rows[row + 3] = scale;
      }
    }
    return changed;
  }

  // A flat tensor of zeros with the layout of the parameters, and its part of each parameter under NAME + suffix.
  Tensor zeros_like_parameters(const char* role) const;
  NamedTensor part(const Tensor& flat, std::size_t parameter, const char* suffix) const;

 private:
  void require_gradients(const Gradients& gradients) const;
  void refresh_blocks();  // a parameter may have been frozen since the last step
  void gather_parameters();
  void sum_squares(const Tensor& gradient);
  void wait_for_ranks();
  std::size_t own_rank() const { return static_cast<std::size_t>(ranks_->rank()); }

  std::string name_;
  ParameterSet& parameters_;
  double clip_;
  FlatLayout layout_;
  std::int64_t steps_ = 0;
  std::vector<std::int32_t> rows_;  // the content of blocks_
  Tensor blocks_, own_blocks_;      // own: the rows of this process's share
  Tensor sums_;                     // [blocks] f64: the squares of each
  Tensor progress_;
  Communicator* ranks_ = nullptr;           // null: the state is not divided
  std::vector<std::int64_t> share_begins_;  // see share_begins()
  std::vector<std::int64_t> first_blocks_;  // of each rank, and the end of the last
  std::vector<std::int64_t> kept_begins_;   // the shares of ParameterSet::kept()
  std::vector<Tensor> collected_;
};

}  // namespace mixgrad
