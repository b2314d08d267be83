#include "nn/training/diagnosis/step_trace.h"

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "autograd/tape_observer.h"
#include "core/build.h"
#include "core/cuda/nvtx.h"
#include "core/cuda/timed_event.h"
#include "core/error.h"
#include "nn/files/file.h"
#include "ops/matmul/choices.h"

namespace mixgrad {
namespace {

using Json = nlohmann::ordered_json;

enum class Phase : std::uint8_t { forward, backward };

// Moments of a step, by the device's clock. Event: that of a CUDA device, or NoEvent in a build without CUDA.
struct NoEvent {};
template <class Event>
class MarksBy {
 public:
  explicit MarksBy(Device device) : device_(device) {}

  std::size_t mark() {
    if constexpr (!std::is_same_v<Event, NoEvent>) {
      if (device_.is_cuda()) {
        events_.push_back(std::make_unique<Event>(device_));
        events_.back()->record();
        return events_.size() - 1;
      }
    }
    moments_.push_back(std::chrono::steady_clock::now());
    return moments_.size() - 1;
  }

  // Since the first mark. Waits for the device.
  double microseconds(std::size_t mark) const {
    if constexpr (!std::is_same_v<Event, NoEvent>) {
      if (device_.is_cuda()) return 1e3 * events_[mark]->milliseconds_since(*events_[0]);
    }
    return std::chrono::duration<double, std::micro>(moments_[mark] - moments_[0]).count();
  }

 private:
  Device device_;
  std::vector<std::unique_ptr<Event>> events_;
  std::vector<std::chrono::steady_clock::time_point> moments_;
};
using Marks = MarksBy<std::conditional_t<build::has_cuda, cuda::TimedEvent, NoEvent>>;

struct TracedOperator {
  const OpSpec* spec;
  Phase phase;
  std::size_t entry;       // of the tape
  std::size_t begin, end;  // marks
  std::vector<std::string> tensors = {};
  std::size_t bytes = 0;
};

struct TracedMicroBatch {
  std::size_t begin, middle, end;  // marks: forward, backward
};

// Sees the operators of a step as they end.
class StepWatch : public TapeObserver {
 public:
  // `expected`: the operators that will come, for the ranges of a profiler; may be empty.
  StepWatch(Device device, std::vector<const OpSpec*> expected)
      : marks_(device), ranges_(device.is_cuda()), expected_(std::move(expected)) {}

  template <class Run>
  void micro_batch(const Run& run) {
    last_ = marks_.mark();
    phase_ = Phase::forward;
    micro_batches_.push_back({last_, last_, last_});
    begin_range();
    run();
    end_range();
    micro_batches_.back().end = marks_.mark();
  }

  void output(const TapeEvent& event, int k, const Tensor& value) override {
    if (k == 0) close(event, Phase::forward);
    note(value);
  }

  void gradient(const TapeEvent& event, int /*input*/, const Tensor& gradient) override {
    const bool same = !operators_.empty() && operators_.back().phase == Phase::backward &&
                      operators_.back().entry == event.entry && operators_.back().spec == event.spec;
    if (!same || phase_ == Phase::forward) {
      if (phase_ == Phase::forward) micro_batches_.back().middle = last_;
      phase_ = Phase::backward;
      close(event, Phase::backward);
    }
    note(gradient);
  }

  const std::vector<TracedOperator>& operators() const { return operators_; }
  const std::vector<TracedMicroBatch>& micro_batches() const { return micro_batches_; }
  const Marks& marks() const { return marks_; }

 private:
  void close(const TapeEvent& event, Phase phase) {
    end_range();
    const std::size_t now = marks_.mark();
    operators_.push_back({event.spec, phase, event.entry, last_, now});
    last_ = now;
    begin_range();
  }

  void note(const Tensor& tensor) {
    operators_.back().tensors.push_back(tensor.shape().str() + " " + dtype_name(tensor.dtype()));
    operators_.back().bytes += tensor.bytes();
  }

  void begin_range() const {
    if constexpr (build::has_cuda) {
      const std::size_t next = operators_.size();
      if (ranges_) cuda::begin_range(next < expected_.size() ? expected_[next]->name : "end");
    }
  }
  void end_range() const {
    if constexpr (build::has_cuda) {
      if (ranges_) cuda::end_range();
    }
  }

  Marks marks_;
  bool ranges_;
  std::vector<const OpSpec*> expected_;
  std::vector<TracedOperator> operators_;
  std::vector<TracedMicroBatch> micro_batches_;
  Phase phase_ = Phase::forward;
  std::size_t last_ = 0;
};

Json event_of(const std::string& name, const char* category, double begin, double end, Json arguments) {
  Json event;
  event["name"] = name;
  event["cat"] = category;
  event["ph"] = "X";
  event["ts"] = begin;
  event["dur"] = end - begin;
  event["pid"] = 1;
  event["tid"] = 1;
  event["args"] = std::move(arguments);
  return event;
}

// Perfetto nests events of one thread by their times, so the outer ones come first.
Json events_of(const StepWatch& watch) {
  const Marks& marks = watch.marks();
  Json events = Json::array();
  std::size_t next = 0;
  for (std::size_t part = 0; part < watch.micro_batches().size(); ++part) {
    const TracedMicroBatch& micro_batch = watch.micro_batches()[part];
    const auto add_phase = [&](const char* name, std::size_t begin, std::size_t end) {
      events.push_back(
          event_of(name, "phase", marks.microseconds(begin), marks.microseconds(end), Json{{"micro_batch", part}}));
      for (; next < watch.operators().size() && watch.operators()[next].end <= end; ++next) {
        const TracedOperator& op = watch.operators()[next];
        const bool forward = op.phase == Phase::forward;
        Json arguments;
        arguments[forward ? "outputs" : "gradients"] = op.tensors;
        arguments["bytes"] = op.bytes;
        arguments["operator_of_tape"] = op.entry;
        events.push_back(event_of(op.spec->name, forward ? "forward" : "backward", marks.microseconds(op.begin),
                                  marks.microseconds(op.end), std::move(arguments)));
      }
    };
    add_phase("forward", micro_batch.begin, micro_batch.middle);
    add_phase("backward", micro_batch.middle, micro_batch.end);
  }
  return events;
}

}  // namespace

std::size_t write_step_trace(const std::filesystem::path& file, Decoder& model, Optimizer& optimizer,
                             const BatchStream& data, Rng rng, const StepTraceOptions& options) {
  if (data.document_start()) {
    raise<ValueError>("trace: a step whose documents are cut apart has groups of other shapes each time, and cannot ",
                      "be shown; trace a step without --reset-state");
  }
  if (options.objective != nullptr && options.objective->passes() == Objective::Passes::of_each_layer) {
    raise<ValueError>("trace: a step with the objective ", options.objective->name(), " runs each layer forward and ",
                      "backward by itself, and has no phases to be shown; trace a step of another objective");
  }
  const Tensor tokens = Tensor::empty({options.accumulate * options.batch, model.config().context}, DType::i32);
  const Tensor targets = Tensor::empty(tokens.shape(), DType::i32);
  data.sample_batch(rng, tokens, targets);
  TrainStep step(model, optimizer, options.objective);
  const RecomputeScope scope(options.intermediates);
  const auto run = [&](std::vector<const OpSpec*> expected) {
    auto watch = std::make_unique<StepWatch>(model.device(), std::move(expected));
    for (std::int64_t part = 0; part < options.accumulate; ++part) {
      const std::int64_t begin = part * options.batch;
      const Tensor inputs = tokens.slice(begin, begin + options.batch);
      const Tensor wanted = targets.slice(begin, begin + options.batch);
      const DropoutMask dropout = options.dropout.mask.in_step(options.dropout.number, options.accumulate, part);
      watch->micro_batch([&] { step.accumulate(inputs, wanted, static_cast<double>(options.accumulate), dropout); });
    }
    step.discard();
    return watch;
  };
  std::vector<const OpSpec*> order;
  std::optional<MatmulTiming> timing;
  if (options.products == Trainer::ProductAlgorithms::timed) timing.emplace();
  const std::unique_ptr<StepWatch> untimed = run({});
  for (const TracedOperator& op : untimed->operators()) order.push_back(op.spec);
  timing.reset();
  const std::unique_ptr<StepWatch> watch = run(order);
  Json trace;
  trace["displayTimeUnit"] = "ms";
  trace["otherData"] = Json{{"device", model.device().str()},
                            {"precision", dtype_name(model.dtype())},
                            {"batch", options.batch},
                            {"accumulate", options.accumulate}};
  trace["traceEvents"] = events_of(*watch);
  write_file_atomic(file, trace.dump(1) + "\n");
  return watch->operators().size();
}

}  // namespace mixgrad
