// mixgrad bench train: milliseconds, memory and allocations of a training step.
// mixgrad bench decode: time and memory of a generated token, as the sequence grows.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "apps/options/model_options.h"
#include "apps/options/option_value.h"
#include "apps/options/training_options.h"
#include "apps/options/verb.h"
#include "apps/output/clock.h"
#include "apps/output/json_line.h"
#include "apps/run/allocation_counter.h"
#include "apps/run/open_run.h"
#include "core/allocator.h"
#include "core/build.h"
#include "core/error.h"
#include "core/parallel.h"
#include "nn/model/decoding_session.h"
#include "nn/training/graph_trainer.h"
#include "nn/training/training.h"

namespace mixgrad::app {
namespace {

double now_ms() { return 1e3 * now(); }

// Memory of this process that is in RAM, in bytes; 0 where the system does not say.
std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t pages = 0;
  std::size_t resident = 0;
  file >> pages >> resident;
  return resident * 4096;
}

double mebibytes(std::size_t bytes) { return static_cast<double>(bytes) / 1048576.0; }

constexpr int kWarmup = 3;  // untimed steps

class Bench : public Verb {
 public:
  std::string name() const override { return "bench"; }
  std::string summary() const override {
    return "Time a training step (bench train) or a generated token (bench decode)";
  }
  std::string example() const override { return "mixgrad bench train --preset char --json"; }

  void declare(OptionSet& options) override {
    options.add_positional("what", what_, "train: whole steps, with data, clipping and optimizer; decode: tokens");
    options.add_presets(model_presets());
    model_.declare(options);
    training_.declare(options);
    options.add("rounds", rounds_, kCount, "Timed steps, after three untimed ones; the median is printed");
    options.add("tokens", tokens_, kCount, "bench decode: length of the sequence, one token at a time");
    options.add_flag("json", json_, "One JSON object on stdout");
  }

  std::string without_effect(const std::string& option) const override {
    const bool decodes = !what_.empty() && what_[0] == "decode";
    if (option == "tokens") return decodes ? "" : "it belongs to bench decode";
    return option == "rounds" && decodes ? "it belongs to bench train" : "";
  }

  int run() override {
    check_word("bench", what_, {"train", "decode"});
    training_.check();
    training_.placement.check_device();
    const ContextScope scope(training_.context());
    return what_[0] == "train" ? time_training() : time_decoding();
  }

 private:
  int time_training() {
    const OpenedRun run = open_run(model_, {.placement = training_.place(), .seed = training_.seed});
    const TokenData& data = run.data;
    Decoder& model = *run.model;
    AdamW optimizer(model.parameters(), training_.adamw());
    if constexpr (build::has_cuda) {
      if (model.device().is_cuda() && !model.context().check_devices) return time_graph(model, optimizer, data);
    }
    TrainStep step(model, optimizer);
    const Shape shape{training_.batch, model.config().context};
    const Tensor tokens = Tensor::empty(shape, DType::i32);
    const Tensor targets = Tensor::empty(shape, DType::i32);
    Rng rng(training_.seed);
    const auto one_step = [&] {
      for (std::int64_t part = 0; part < training_.accumulate; ++part) {
        data.sample_batch(rng, tokens, targets);
        step.accumulate(tokens, targets, training_.accumulate);
      }
      step.apply(training_.lr);
    };
    for (int i = 0; i < kWarmup; ++i) one_step();
    std::vector<double> times(static_cast<std::size_t>(rounds_));
    pool_reset_peak(training_.place().device);
    const std::int64_t before = allocations_so_far();
    for (double& time : times) {
      const double start = now_ms();
      one_step();
      time = now_ms() - start;
    }
    const double allocations = static_cast<double>(allocations_so_far() - before) / static_cast<double>(rounds_);
    std::sort(times.begin(), times.end());
    const double median = times[times.size() / 2];
    const double step_tokens = static_cast<double>(shape.numel() * training_.accumulate);
    report(times.front(), median, step_tokens / median * 1e3, pool_stats(training_.place().device).peak, allocations);
    return kOk;
  }

  // On a CUDA device steps are queued as in a run; the time of each is that of all of them over their number.
  int time_graph(Decoder& model, AdamW& optimizer, const TokenData& data) {
    Schedule schedule = training_.schedule_values();
    schedule.steps = kWarmup + rounds_;
    const auto trainer = cuda::make_graph_trainer(model, optimizer, data,
                                                  {.batch = training_.batch,
                                                   .accumulate = training_.accumulate,
                                                   .schedule = schedule,
                                                   .resident = cuda::fits(data, model.device()),
                                                   .capture = true,
                                                   .time_products = true});
    trainer->start(0, Rng(training_.seed));
    for (int i = 0; i < kWarmup; ++i) trainer->queue();
    trainer->wait();
    const std::int64_t before = allocations_so_far();
    const double start = now_ms();
    for (std::int64_t i = 0; i < rounds_; ++i) trainer->queue();
    const std::int64_t allocations = allocations_so_far() - before;
    trainer->wait();
    const double each = (now_ms() - start) / static_cast<double>(rounds_);
    const auto step_tokens = static_cast<double>(training_.batch * model.config().context * training_.accumulate);
    report(each, each, step_tokens / each * 1e3, pool_stats(model.device()).peak,
           static_cast<double>(allocations) / static_cast<double>(rounds_));
    return kOk;
  }

  // Ten equal parts of one sequence: a state that grows shows as a rising figure.
  int time_decoding() const {
    const OpenedRun run =
        open_run(model_, {.placement = training_.place(), .seed = training_.seed, .use = TextUse::vocabulary});
    const Decoder& model = *run.model;
    DecodingSession session(model, 1, model.config().context);
    Rng rng(training_.seed);
    const Tensor token = Tensor::empty({1, 1}, DType::i32);
    const auto decode = [&](std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i) {
        token.set(0, static_cast<double>(rng.below(static_cast<std::uint64_t>(model.config().vocab_size))));
        static_cast<void>(session.step(token).to(kCpu));  // where a token is drawn
      }
    };
    if (!json_)
      std::printf("%10s %14s %12s %12s %14s\n", "tokens", "us a token", "state bytes", "tensors MiB", "resident MiB");
    constexpr std::int64_t kParts = 10;
    for (std::int64_t part = 0; part < kParts; ++part) {
      const std::int64_t count = tokens_ * (part + 1) / kParts - tokens_ * part / kParts;
      if (count == 0) continue;
      const double start = now_ms();
      decode(count);
      report_part(session.state(), (now_ms() - start) * 1e3 / static_cast<double>(count));
    }
    return kOk;
  }

  void report_part(const DecoderState& state, double microseconds) const {
    const std::size_t tensors = pool_stats(training_.place().device).in_use;
    const std::size_t resident = resident_bytes();
    if (!json_) {
      std::printf("%10lld %14.1f %12zu %12.2f %14.2f\n", static_cast<long long>(state.position()), microseconds,
                  state.bytes(), mebibytes(tensors), mebibytes(resident));
      return;
    }
    nlohmann::ordered_json row;
    row["tokens"] = state.position();
    row["us_per_token"] = microseconds;
    row["state_bytes"] = state.bytes();
    row["tensor_bytes"] = tensors;
    row["resident_bytes"] = resident;
    print_json(row);
  }

  void report(double best, double median, double tokens_per_s, std::size_t peak, double allocations) const {
    if (json_) {
      nlohmann::ordered_json object;
      object["ms_per_step"] = median;
      object["tokens_per_s"] = tokens_per_s;
      object["peak_bytes"] = peak;
      if (counts_allocations()) {
        object["allocations_per_step"] = allocations;
      } else {
        object["allocations_per_step"] = nullptr;  // sanitizer build: not counted
      }
      object["best_ms"] = best;
      object["threads"] = threads();
      print_json(object);
      return;
    }
    std::printf("median %.2f ms a step (best %.2f), %.0f tokens/s, tensors at most %.1f MiB, ", median, best,
                tokens_per_s, mebibytes(peak));
    counts_allocations() ? std::printf("%g allocations a step", allocations)
                         : std::printf("allocations not counted in this build");
    std::printf(", %d threads\n", threads());
  }

  std::vector<std::string> what_;
  ModelOptions model_;
  TrainingOptions training_;
  std::int64_t rounds_ = 20, tokens_ = 10000;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_bench() { return std::make_unique<Bench>(); }

}  // namespace mixgrad::app
