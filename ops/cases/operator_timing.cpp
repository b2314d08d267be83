#include "ops/cases/operator_timing.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>

#include "autograd/tape.h"
#include "core/allocator.h"
#include "core/build.h"
#include "core/cuda/cuda.h"
#include "core/cuda/timed_event.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "ops/linear/linear.h"
#include "ops/matmul/choices.h"

namespace mixgrad::test {
namespace {

constexpr int kWarmup = 3;                // untimed rounds
constexpr std::int64_t kDrawn = 1048573;  // random numbers of an input; a longer one repeats them. A prime
constexpr double kBytesOfRound =
    64'000'000;  // calls of a round: as many as bring their bytes to this, at most kMaxCalls
constexpr int kMaxCalls = 16;

// The seconds of each part of one round.
using Parts = std::vector<double>;
using Marks = std::function<void()>;                          // to be called at the end of each part
using Round = std::function<void(const Marks& end_of_part)>;  // does the work of all parts

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Parts time_by_clock(const Round& round, std::size_t parts) {
  Parts seconds;
  seconds.reserve(parts);
  double begin = now();
  round([&] {
    const double end = now();
    seconds.push_back(end - begin);
    begin = end;
  });
  return seconds;
}

// The round as a graph with an event between its parts.
class TimedGraph {
 public:
  TimedGraph(const Round& round, std::size_t parts, Device device) : pool_(device) {
    for (std::size_t i = 0; i <= parts; ++i) events_.push_back(std::make_unique<cuda::TimedEvent>(device));
    const PrivatePool::Scope scope(pool_);
    cuda::Graph::Capture recording(graph_, device);
    std::size_t next = 0;
    events_[next++]->record();
    round([&] { events_[next++]->record(); });
    recording.finish();
  }

  Parts replay() {
    graph_.launch();
    Parts seconds;
    for (std::size_t i = 1; i < events_.size(); ++i) {
      seconds.push_back(1e-3 * events_[i]->milliseconds_since(*events_[i - 1]));
    }
    return seconds;
  }

 private:
  PrivatePool pool_;  // of the graph: outlives it
  std::vector<std::unique_ptr<cuda::TimedEvent>> events_;
  cuda::Graph graph_;
};

// All rounds: [round][part].
std::vector<Parts> time_rounds(const Round& round, std::size_t parts, Device device, int rounds) {
  std::vector<Parts> times;
  if constexpr (build::has_cuda) {
    if (device.is_cuda()) {
      {
        const MatmulTiming timing;  // as the first step of a training run
        round([] {});
      }
      cuda::synchronize(device);
      pool_trim(device);
      TimedGraph graph(round, parts, device);
      for (int i = 0; i < kWarmup; ++i) graph.replay();
      for (int i = 0; i < rounds; ++i) times.push_back(graph.replay());
      return times;
    }
  }
  for (int i = 0; i < kWarmup; ++i) time_by_clock(round, parts);
  for (int i = 0; i < rounds; ++i) times.push_back(time_by_clock(round, parts));
  return times;
}

DType dtype_of_input(InputRole role, DType dtype) {
  if (role == InputRole::index) return DType::i32;
  return is_kept_in_f32(role) ? accumulation_dtype(dtype) : dtype;
}

// Random rows of `stride` elements, drawn once and repeated.
Tensor random_values(const BenchInput& input, DType dtype, std::uint64_t seed) {
  const std::int64_t columns = std::max(input.row, input.shape.cols());
  const Tensor all = Tensor::empty(input.shape.with_last(columns), dtype);
  const std::int64_t drawn = std::min(all.numel(), kDrawn);
  const Tensor block = input.values == BenchInput::Values::tokens ? random_tokens({drawn}, input.vocabulary, seed)
                                                                  : Tensor::empty({drawn}, dtype);
  if (input.values == BenchInput::Values::normal) Rng(seed).fill_normal(block, input.mean, input.deviation);
  const std::size_t bytes = dtype_bytes(dtype);
  parallel_for((all.numel() + drawn - 1) / drawn, [&](std::int64_t i) {
    const std::int64_t count = std::min(drawn, all.numel() - i * drawn);
    std::memcpy(static_cast<std::byte*>(all.raw()) + static_cast<std::size_t>(i * drawn) * bytes, block.raw(),
                static_cast<std::size_t>(count) * bytes);
  });
  return all;
}

// What stands before the operator in a model: makes an activation tracked, and does nothing with its gradient.
const OpSpec kSourceSpec{.name = "bench_source",
                         .formula = "x",
                         .gradient = "nothing",
                         .saves = "nothing",
                         .inputs = 1,
                         .outputs = 1,
                         .differentiable = {0},
                         .roles = {InputRole::activation},
                         .backward = [](BackwardContext&) {}};

// An operator at given sizes, ready to be called.
class Subject {
 public:
  Subject(const OpSpec& spec, const BenchCall& call, DType dtype, Device device) : spec_(spec), call_(call) {
    if (static_cast<int>(call.inputs.size()) != spec.inputs || !call.run) {
      raise<ValueError>("bench of ", spec.name, ": .make must give .run and one input for each of the operator's ",
                        spec.inputs, "; got ", call.inputs.size(), " inputs");
    }
    std::vector<Shape> leaves{{1}};  // leaf 0 stands behind the activations
    for (int i = 0; i < spec.inputs; ++i) {
      const BenchInput& input = call.inputs[static_cast<std::size_t>(i)];
      if (input.values == BenchInput::Values::absent) {
        inputs_.emplace_back();
        continue;
      }
      const DType type = dtype_of_input(spec.roles[i], dtype);
      const Tensor whole = random_values(input, type, 1000 + static_cast<std::uint64_t>(i)).to(device);
      inputs_.push_back(input.row > input.shape.cols() ? whole.column_view(0, input.shape.cols()) : whole);
      if (is_leaf(i)) leaves.push_back(input.shape);
    }
    root_ = Tensor::zeros({1}, accumulation_dtype(dtype), device);
    gradients_ = std::make_unique<Gradients>(leaves, accumulation_dtype(dtype), device);
    find_outputs();
  }

  // One round: so many calls forward, then as many backward.
  void round(int calls, const Marks& end_of_part) {
    std::vector<std::unique_ptr<Tape>> tapes;
    std::vector<std::vector<Tape::Seed>> seeds;
    for (int i = 0; i < calls; ++i) {
      tapes.push_back(std::make_unique<Tape>());
      const std::vector<Tensor> inputs = watched(*tapes.back());
      const std::vector<Tensor> outputs = call_.run(inputs);
      seeds.emplace_back();
      for (std::size_t k = 0; k < outputs.size(); ++k) {
        if (tracked(outputs[k])) seeds.back().push_back({outputs[k], cotangents_[k]});
      }
    }
    end_of_part();
    for (; !tapes.empty(); tapes.pop_back(), seeds.pop_back()) {  // the newest is the current one
      gradients_->clear();
      if (!seeds.back().empty()) std::move(*tapes.back()).backward(seeds.back(), *gradients_);
    }
    end_of_part();
  }

  double forward_bytes() const {
    double bytes = 0;
    if (call_.forward_is_view) return bytes;
    for (std::size_t i = 0; i < inputs_.size(); ++i) bytes += read_bytes(i);
    for (const Tensor& like : cotangents_) bytes += static_cast<double>(like.bytes());
    return bytes;
  }

  double backward_bytes() const {
    double bytes = 0;
    if (call_.backward_is_view) return bytes;
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (call_.read_again.contains(static_cast<int>(i))) bytes += read_bytes(i);
      bytes += written_bytes(i);
    }
    for (std::size_t k = 0; k < cotangents_.size(); ++k) {
      const auto size = static_cast<double>(cotangents_[k].bytes());
      bytes += call_.outputs_read_again.contains(static_cast<int>(k)) ? 2 * size : size;
    }
    return bytes;
  }

 private:
  bool differentiable(int i) const {
    return inputs_[static_cast<std::size_t>(i)].defined() && spec_.differentiable.contains(i);
  }
  bool is_leaf(int i) const { return differentiable(i) && is_parameter(spec_.roles[i]); }

  // The inputs as a model has them on its tape.
  std::vector<Tensor> watched(Tape& tape) const {
    std::vector<Tensor> inputs;
    for (const Tensor& input : inputs_) inputs.push_back(input.defined() ? input.detach() : Tensor());
    Tensor root = root_.detach();
    tape.watch(root);
    for (int i = 0; i < spec_.inputs; ++i) {
      Tensor& input = inputs[static_cast<std::size_t>(i)];
      if (is_leaf(i)) {
        tape.watch(input);
      } else if (differentiable(i)) {
        record(kSourceSpec, {&root}, {&input}, {});
      }
    }
    return inputs;
  }

  // Their shapes, from one call.
  void find_outputs() {
    std::uint64_t seed = 2000;
    for (const Tensor& output : call_.run(inputs_)) {
      const BenchInput values = BenchInput::normal(output.shape());
      cotangents_.push_back(random_values(values, output.dtype(), seed++).to(output.device()));
    }
  }

  double read_bytes(std::size_t i) const {
    if (!inputs_[i].defined()) return 0;
    const std::int64_t read = call_.inputs[i].read;
    return static_cast<double>(read >= 0 ? read : inputs_[i].numel()) *
           static_cast<double>(dtype_bytes(inputs_[i].dtype()));
  }

  double written_bytes(std::size_t i) const {
    const auto index = static_cast<int>(i);
    if (!differentiable(index)) return 0;
    const DType dtype = is_leaf(index) ? accumulation_dtype(inputs_[i].dtype()) : inputs_[i].dtype();
    const std::int64_t written = call_.inputs[i].written;
    return static_cast<double>(written >= 0 ? written : inputs_[i].numel()) * static_cast<double>(dtype_bytes(dtype));
  }

  const OpSpec& spec_;
  const BenchCall& call_;
  std::vector<Tensor> inputs_, cotangents_;
  Tensor root_;
  std::unique_ptr<Gradients> gradients_;
};

TimedPass pass_of(std::vector<double> seconds, double bytes, double operations) {
  std::sort(seconds.begin(), seconds.end());
  return {std::move(seconds), bytes, operations};
}

double fastest(const Round& round, Device device) {
  double best = 1e30;
  for (const Parts& parts : time_rounds(round, 1, device, 5)) best = std::min(best, parts[0]);
  return best;
}

}  // namespace

OpBench bench_of(const OperatorCases& entry) {
  if (entry.spec == nullptr) raise<ValueError>("bench of an operator: its spec is required, got none");
  if (entry.bench == nullptr) {
    raise<ValueError>(
        "bench of ", entry.spec->name,
        ": the operator has no sizes to be timed at; give its OperatorCases a .bench (ops/cases/bench.h)");
  }
  OpBench bench = entry.bench();
  const auto refuse = [&](const char* part) {
    raise<ValueError>("bench of ", entry.spec->name, ": ", part, " is required, got none");
  };
  if (bench.sizes.empty()) refuse(".sizes");
  if (bench.counted.empty()) refuse(".counted, what the operations are,");
  if (!bench.make) refuse(".make");
  return bench;
}

BenchSizes bench_sizes(const OperatorCases& entry) { return {entry.spec->name, bench_of(entry).sizes}; }

OperatorTiming time_operator(const OperatorCases& entry, const BenchSizes& sizes, const TimingOptions& options) {
  const BenchCall call = bench_of(entry).make(sizes);
  Subject subject(*entry.spec, call, options.dtype, options.device);
  OperatorTiming timing;
  timing.forward.bytes = subject.forward_bytes();
  timing.backward.bytes = subject.backward_bytes();
  const double bytes = std::max(1.0, timing.forward.bytes);
  timing.calls = static_cast<int>(std::clamp(kBytesOfRound / bytes, 1.0, static_cast<double>(kMaxCalls)));
  const Round round = [&](const Marks& end_of_part) { subject.round(timing.calls, end_of_part); };
  std::vector<double> forward;
  std::vector<double> backward;
  std::vector<double> both;
  for (const Parts& parts : time_rounds(round, 2, options.device, options.rounds)) {
    forward.push_back(parts[0] / timing.calls);
    backward.push_back(parts[1] / timing.calls);
    both.push_back((parts[0] + parts[1]) / timing.calls);
  }
  timing.forward = pass_of(std::move(forward), timing.forward.bytes, call.forward_operations);
  timing.backward = pass_of(std::move(backward), timing.backward.bytes, call.backward_operations);
  timing.both = pass_of(std::move(both), timing.forward.bytes + timing.backward.bytes,
                        call.forward_operations + call.backward_operations);
  return timing;
}

Ceilings measure_ceilings(DType dtype, Device device) {
  const std::int64_t bytes = device.is_cuda() ? INT64_C(1) << 30U : INT64_C(1) << 26U;  // beyond the caches
  const std::int64_t size = device.is_cuda() ? 8192 : 512;
  Ceilings ceilings;
  {
    const std::int64_t pieces = 256;
    const Tensor from = Tensor::full({pieces, bytes / 4 / pieces}, DType::f32, 1, device);
    const Tensor to = Tensor::zeros(from.shape(), DType::f32, device);
    const double seconds = fastest(
        [&](const Marks& end_of_part) {
          if (device.is_cuda()) {
            to.copy_from(from);
          } else {
            const std::size_t piece = from.bytes() / static_cast<std::size_t>(pieces);
            parallel_for(pieces, [&](std::int64_t i) {
              std::memcpy(static_cast<std::byte*>(to.raw()) + static_cast<std::size_t>(i) * piece,
                          static_cast<const std::byte*>(from.raw()) + static_cast<std::size_t>(i) * piece, piece);
            });
          }
          end_of_part();
        },
        device);
    ceilings.bytes_per_s = 2 * static_cast<double>(bytes) / seconds;
  }
  const Tensor x = random_values(BenchInput::normal({size, size}), dtype, 1).to(device);
  const Tensor weight = random_values(BenchInput::normal({size, size}), dtype, 2).to(device);
  const double seconds = fastest(
      [&](const Marks& end_of_part) {
        const Tensor y = linear(x, weight);
        end_of_part();
      },
      device);
  const auto n = static_cast<double>(size);
  ceilings.operations_per_s = 2 * n * n * n / seconds;
  return ceilings;
}

}  // namespace mixgrad::test
