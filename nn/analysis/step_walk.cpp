#include "nn/analysis/step_walk.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/tape.h"
#include "core/error.h"
#include "nn/config/model_config.h"

namespace mixgrad {
namespace {

class StepObserver : public TapeObserver {
 public:
  StepObserver(const ParameterSet& parameters, StepWalk& walk) : parameters_(parameters), walk_(walk) {}

  void output(const TapeEvent& event, int /*k*/, const Tensor& value) override {
    entry_of(event).outputs.push_back(picture_of(value));
  }
  void gradient(const TapeEvent& event, int input, const Tensor& gradient) override {
    entry_of(event).gradients[static_cast<std::size_t>(input)] = picture_of(gradient);
  }

 private:
  StepEntry& entry_of(const TapeEvent& event) {
    while (walk_.entries.size() <= event.entry) {
      StepEntry entry{.spec = event.spec, .parameters = {}, .outputs = {}, .saved = {}, .gradients = {}};
      for (int i = 0; i < event.spec->inputs; ++i) {
        const std::int32_t leaf = event.leaves[static_cast<std::size_t>(i)];
        entry.parameters.push_back(leaf < 0 ? std::string() : parameters_[static_cast<std::size_t>(leaf)].name);
      }
      entry.gradients.resize(entry.parameters.size());
      walk_.entries.push_back(std::move(entry));
    }
    return walk_.entries[event.entry];
  }

  const ParameterSet& parameters_;
  StepWalk& walk_;
};

struct StepTokens {
  Tensor inputs, targets;  // [1,T]
};

StepTokens tokens_of(const Decoder& model, const std::vector<std::int32_t>& tokens) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (count < 2 || count > model.config().context + 1) {
    raise<ValueError>("a training step: 2 to ", model.config().context + 1,
                      " tokens are required, the model's context and the last target; got ", count);
  }
  const std::span<const std::int32_t> all(tokens);
  return {Tensor::from_i32(all.first(tokens.size() - 1), {1, count - 1}),
          Tensor::from_i32(all.subspan(1), {1, count - 1})};
}

// Puts the values of the parameters back, also when something throws.
class ParameterKeeper {
 public:
  explicit ParameterKeeper(ParameterSet& parameters) : parameters_(parameters) {
    for (std::size_t i = 0; i < parameters.size(); ++i) kept_.push_back(parameters[i].value);
  }
  ~ParameterKeeper() {
    for (std::size_t i = 0; i < kept_.size(); ++i) parameters_[i].value = kept_[i].detach();
  }
  ParameterKeeper(const ParameterKeeper&) = delete;
  ParameterKeeper& operator=(const ParameterKeeper&) = delete;

 private:
  ParameterSet& parameters_;
  std::vector<Tensor> kept_;
};

}  // namespace

TensorPicture picture_of(const Tensor& tensor) {
  const Tensor values = tensor.to(kCpu);
  TensorPicture picture{.shape = values.shape(), .cells = {}};
  const std::int64_t count = values.numel();
  if (count == 0) return picture;
  const std::int64_t across = values.shape().rank() == 0 ? 1 : values.cols();
  const std::int64_t down = count / across;
  picture.rows = std::min(down, kPictureRows);
  picture.columns = std::min(across, kPictureColumns);
  picture.cells.resize(static_cast<std::size_t>(picture.rows * picture.columns));
  std::vector<double> shares(picture.cells.size());
  picture.low = std::numeric_limits<double>::infinity();
  picture.high = -picture.low;
  double squares = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double value = values.at(i);
    picture.low = std::min(picture.low, value);
    picture.high = std::max(picture.high, value);
    picture.mean += value / static_cast<double>(count);
    squares += value * value / static_cast<double>(count);
    const std::int64_t cell =
        i / across * picture.rows / down * picture.columns + i % across * picture.columns / across;
    picture.cells[static_cast<std::size_t>(cell)] += value;
    shares[static_cast<std::size_t>(cell)] += 1;
  }
  picture.size = std::sqrt(squares);
  for (std::size_t c = 0; c < shares.size(); ++c) picture.cells[c] /= shares[c];
  return picture;
}

StepWalk step_walk(Decoder& model, const std::vector<std::int32_t>& tokens) {
  const StepTokens step = tokens_of(model, tokens);
  ParameterSet& parameters = model.parameters();
  const ParameterKeeper keeper(parameters);
  StepWalk walk;
  Gradients gradients = parameters.new_gradients();
  {
    StepObserver observer(parameters, walk);
    Tape tape;
    parameters.watch(tape);
    const Tensor loss = model.loss(step.inputs, step.targets);
    walk.loss = loss.item();
    const std::vector<TapeEntryReport> report = tape.report();
    for (std::size_t e = 0; e < report.size(); ++e) {
      walk.entries.at(e).saved = report[e].saved;
      walk.entries.at(e).saved_bytes = report[e].saved_bytes;
    }
    std::move(tape).backward(loss, gradients);
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    StepParameter parameter{parameters[i].name, picture_of(parameters[i].value.detach()), std::nullopt};
    if (parameters[i].trainable) parameter.gradient = picture_of(gradients.of(i));
    walk.parameters.push_back(std::move(parameter));
  }
  return walk;
}

GradcheckReport check_step(Decoder& model, const std::vector<std::int32_t>& tokens) {
  if (model.dtype() != DType::f64 || model.device() != kCpu) {
    raise<ValueError>("the gradient check of a step: a model in f64 on the CPU is required; got ",
                      dtype_name(model.dtype()), " on ", model.device().str());
  }
  const StepTokens step = tokens_of(model, tokens);
  ParameterSet& parameters = model.parameters();
  const ParameterKeeper keeper(parameters);
  GradcheckDirectionOptions options;
  options.tolerance = kStepTolerance;
  if (model.config().mlp == Mlp::relu) options.first_step = 2e-4;  // else the differences step over kinks
  std::vector<Tensor> inputs;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    inputs.push_back(parameters[i].value.clone());
    options.names.push_back(parameters[i].name);
  }
  return gradcheck_direction(
      inputs,
      [&](std::span<const Tensor> in) {
        for (std::size_t i = 0; i < in.size(); ++i) parameters[i].value = in[i];
        return std::vector{model.loss(step.inputs, step.targets)};
      },
      options);
}

}  // namespace mixgrad
