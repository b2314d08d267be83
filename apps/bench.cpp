// mixgrad bench train: milliseconds, memory and allocations of a training step.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/allocation_counter.h"
#include "apps/model_options.h"
#include "apps/option_value.h"
#include "apps/training_options.h"
#include "apps/verb.h"
#include "core/allocator.h"
#include "core/error.h"
#include "core/parallel.h"
#include "nn/training.h"

namespace mixgrad::app {
namespace {

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Bench : public Verb {
 public:
  std::string name() const override { return "bench"; }
  std::string summary() const override { return "Time a training step (bench train)"; }
  std::string example() const override { return "mixgrad bench train --preset char --json"; }

  void declare(OptionSet& options) override {
    options.add_positional("what", what_, "train: whole steps, with data, clipping and optimizer");
    options.add_presets(model_presets());
    model_.declare(options);
    training_.declare(options);
    options.add("rounds", rounds_, kCount, "Timed steps, after three untimed ones; the median is printed");
    options.add_flag("json", json_, "One JSON object on stdout");
  }

  int run() override {
    check_word("bench", what_, {"train"});
    training_.check();
    training_.apply_threads();
    const TokenData data = model_.open_data();
    Decoder model(model_.config(data.tokenizer().vocab_size()), training_.dtype(), model_.hsm_scale);
    model.parameters().initialize(training_.seed);
    AdamW optimizer(model.parameters(), training_.adamw());
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
    constexpr int kWarmup = 3;
    for (int i = 0; i < kWarmup; ++i) one_step();
    std::vector<double> times(static_cast<std::size_t>(rounds_));
    pool_reset_peak(kCpu);
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
    report(times.front(), median, step_tokens / median * 1e3, pool_stats(kCpu).peak, allocations);
    return kOk;
  }

 private:
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
      std::printf("%s\n", object.dump().c_str());
      return;
    }
    std::printf("median %.2f ms a step (best %.2f), %.0f tokens/s, tensors at most %.1f MiB, ", median, best,
                tokens_per_s, static_cast<double>(peak) / 1048576.0);
    counts_allocations() ? std::printf("%g allocations a step", allocations)
                         : std::printf("allocations not counted in this build");
    std::printf(", %d threads\n", threads());
  }

  std::vector<std::string> what_;
  ModelOptions model_;
  TrainingOptions training_;
  std::int64_t rounds_ = 20;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_bench() { return std::make_unique<Bench>(); }

}  // namespace mixgrad::app
