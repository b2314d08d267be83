// mixgrad bench train: milliseconds, memory and allocations of a training step.
// mixgrad bench decode: time and memory of a generated token, the most likely one, as the sequence grows.
// mixgrad bench op: one operator (bench_op.h).
// mixgrad bench comm: sums over the processes of a job (bench_comm.h).
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <vector>

#include "apps/options/model_options.h"
#include "apps/options/training_options.h"
#include "apps/output/clock.h"
#include "apps/output/json_line.h"
#include "apps/output/table.h"
#include "apps/process/allocation_counter.h"
#include "apps/run/open_run.h"
#include "apps/run/run_ranks.h"
#include "apps/verbs/bench/bench_comm.h"
#include "apps/verbs/bench/bench_op.h"
#include "apps/verbs/verbs.h"
#include "core/allocator.h"
#include "core/build.h"
#include "core/cuda/profile.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"
#include "nn/model/decoding_session.h"
#include "nn/training/diagnosis/step_trace.h"
#include "nn/training/trainer.h"

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
  std::string summary() const override {
    return "Time a training step (bench train), a generated token (bench decode), an operator (bench op) or sums over "
           "processes (bench comm)";
  }
  std::string example() const override { return "mixgrad bench train --preset char --json"; }

  void declare(OptionSet& options) override {
    options.add_choice(what_, {{"train", "times whole steps, with data, clipping and optimizer"},
                               {"decode", "times a token as the sequence grows"},
                               {"op", "times one operator, forward and backward, beside its bytes and operations"},
                               {"comm", "times sums over the processes of a job, by size"}});
    options.add_files("NAME", op_.names, "Of bench op: the operator; without it all are listed with their sizes",
                      OptionSet::ArgumentUse::optional);
    options.add("tokens", tokens_, kCount, "Length of the sequence, one token at a time", {.only_for = {"decode"}});
    options.add("after", after_, kCountOrNone,
                "Tokens of a prompt before those, 512 of them at once; the first row is theirs",
                {.only_for = {"decode"}});
    options.add("sequences", sequences_, kCount,
                "Sequences that are decoded side by side; a time is that of one token of each",
                {.only_for = {"decode"}});
    options.add("trace", trace_, "Also write here what each operator of a step takes",
                {.value = "FILE", .not_empty = true, .only_for = {"train"}});
    training_.declare_seed(options);
    options.add_presets(model_presets(), PresetUse::partial);
    model_.declare(options);
    model_.source.declare_reset_state(options, {.group = OptionGroup::data, .only_for = {"train"}});
    training_.declare_batch(options, {"train"});
    training_.declare_optimisation(options, {"train"});
    training_.declare_recompute(options, {"train"});
    training_.declare_ranks(options, started_alone(), {"train"});
    options.limit_to({"train", "decode"});  // what an operator has not
    declare_timeout(options, training_.timeout, started_alone(), {"train", "comm"});
    options.add("rounds", rounds_, kCount,
                "Timed steps, of an operator or of sums timed calls, after three untimed ones; the median is printed",
                {.only_for = {"train", "op", "comm"}, .given = &op_.rounds_given});
    op_.declare(options);
    options.add_flag("json", json_, "JSON on stdout, one object a line");
    training_.declare_placement(options);
  }

  int run() override {
    training_.check();
    if (what_ == "op") op_.check(training_.placement, training_.threads);
    training_.placement.check_device();
    if (what_ != "op" && !op_.names.empty()) {
      raise<ValueError>("bench ", what_, ": no NAME is taken, which belongs to bench op; got ", quote(op_.names[0]),
                        "; leave it out");
    }
    const ContextScope scope(training_.context());
    if (what_ == "op") {
      op_.run(training_.placement, rounds_, json_);
      return kOk;
    }
    if (what_ == "decode") return time_decoding();
    return run_in_job(join_options(training_.timeout), [this](Communicator& ranks) {
      if (what_ == "train") return time_training(ranks);
      bench_comm(ranks, training_.placement, rounds_, json_);
      return static_cast<int>(kOk);
    });
  }

 private:
  struct StepTimes {
    double best = 0, median = 0;  // milliseconds
    double sums = 0;              // of them spent waiting for sums over the ranks
    double tokens_per_s = 0, allocations = 0;
    std::size_t peak = 0;
  };

  // A job of several processes divides the batch. First each times steps of as many rows as rank 0 has, without the
  // others. Devices of one kind differ by some per cent, and a job takes the time of its slowest: both are printed.
  int time_training(Communicator& ranks) {
    const bool orders = training_.reduce_options().order == ReduceOrder::rank;
    std::vector<double> apart;  // milliseconds, of each rank
    if (!ranks.alone()) {
      if (!ranks.leads()) trace_.clear();  // rank 0 writes it, of its own steps without the others
      const std::int64_t whole = training_.batch;
      training_.batch = StepRanks{.rank = 0, .size = ranks.size()}.end(whole);
      ranks.meet("the first steps");
      const double own = time_steps(nullptr).median;
      apart = ranks.gather(std::span(&own, 1));
      training_.batch = whole;
      ranks.meet("the steps together");
    }
    const StepTimes times = time_steps(ranks.alone() && !orders ? nullptr : &ranks);
    if (ranks.leads()) report(times, apart, ranks);
    return kOk;
  }

  void write_trace(Decoder& model, Optimizer& optimizer, const TokenData& data, const Trainer::Options& options) const {
    const std::size_t shown = write_step_trace(trace_, model, optimizer, data, Rng(training_.seed),
                                               {.batch = training_.batch,
                                                .accumulate = training_.accumulate,
                                                .intermediates = options.intermediates,
                                                .products = options.products});
    std::fprintf(stderr, "mixgrad: %s holds a trace of a step: %s; open it in chrome://tracing or ui.perfetto.dev\n",
                 trace_.c_str(), count_text(static_cast<std::int64_t>(shown), "operator").c_str());
  }

  // Runs eleven more steps one by one, since a result has the wait of the last step alone. Returns the median.
  static double median_wait_ms(Trainer& trainer) {
    std::vector<double> waits(11);
    for (double& wait : waits) {
      trainer.queue();
      wait = trainer.wait().waited_ms;
    }
    std::sort(waits.begin(), waits.end());
    return waits[waits.size() / 2];
  }

  StepTimes time_steps(Communicator* ranks) {
    pool_reset_peak(training_.model_placement().device);  // of a job it is called twice
    const OpenedRun run = open_run(model_, {.placement = training_.model_placement(), .seed = training_.seed});
    const TokenData& data = run.data;
    Decoder& model = *run.model;
    const std::unique_ptr<Optimizer> optimizer = make_optimizer(training_.optimizer_settings(), model.parameters());
    Trainer::Options options = training_.trainer_options();
    options.schedule.steps = kWarmup + rounds_;
    options.products = Trainer::ProductAlgorithms::timed;
    options.ranks = ranks;
    if (training_.shard == "optimizer" && ranks != nullptr) {
      optimizer->shard(*ranks);
      pool_reset_peak(model.device());  // the whole state is given back, and its memory is not that of a step
    }
    options.reduce = training_.reduce_options();
    if (!trace_.empty() && (ranks == nullptr || ranks->alone())) write_trace(model, *optimizer, data, options);
    const std::unique_ptr<Trainer> trainer = make_trainer(model, *optimizer, data, options);
    trainer->start(0, Rng(training_.seed));
    for (int i = 0; i < kWarmup; ++i) trainer->queue();
    trainer->wait();
    watch_allocations();
    // Steps that are queued ahead, as in a run, are timed together, others one by one. The memory of queued steps was
    // taken in the untimed ones.
    const bool ahead = trainer->steps_under_way() > 1;
    const std::int64_t together = ahead ? rounds_ : 1;
    if (!ahead) pool_reset_peak(model.device());
    const double sums_before = ranks == nullptr ? 0 : ranks->seconds_in_sums();
    std::vector<double> times(static_cast<std::size_t>(rounds_ / together));
    std::int64_t allocations = 0;
    Trainer::Result result;
    if constexpr (build::has_cuda) cuda::start_profile();
    for (double& time : times) {
      const std::int64_t before = allocations_so_far();
      const double start = now_ms();
      for (std::int64_t i = 0; i < together; ++i) trainer->queue();
      allocations += allocations_so_far() - before;
      result = trainer->wait();
      time = (now_ms() - start) / static_cast<double>(together);
    }
    if constexpr (build::has_cuda) cuda::stop_profile();
    if (result.halted) {
      raise<ValueError>("bench train: loss and gradient norm must be finite, got ", result.loss, " and ",
                        result.gradient_norm, " in step ", result.step + 1, "; give a lower --lr");
    }
    const double sums = ranks == nullptr ? 0
                        : model.device().is_cuda()
                            ? median_wait_ms(*trainer)
                            : 1e3 * (ranks->seconds_in_sums() - sums_before) / static_cast<double>(rounds_);
    std::sort(times.begin(), times.end());
    const auto rounds = static_cast<double>(rounds_);
    const auto step_tokens = static_cast<double>(training_.batch * model.config().context * training_.accumulate);
    const double median = times[times.size() / 2];
    return {.best = times.front(),
            .median = median,
            .sums = sums,
            .tokens_per_s = step_tokens / median * 1e3,
            .allocations = static_cast<double>(allocations) / rounds,
            .peak = pool_stats(model.device()).peak};
  }

  // The prompt, if there is one, and ten equal parts of one sequence: a state that grows shows as a rising figure.
  int time_decoding() const {
    const OpenedRun run = open_run(
        model_, {.placement = training_.model_placement(), .seed = training_.seed, .use = TextUse::vocabulary});
    const Decoder& model = *run.model;
    DecodingSession session(model, sequences_, model.config().context);
    Rng rng(training_.seed);
    const Tensor token = Tensor::empty({sequences_, 1}, DType::i32);
    const auto step = [&] {
      for (std::int64_t b = 0; b < sequences_; ++b) {
        token.set(b, static_cast<double>(rng.below(static_cast<std::uint64_t>(model.config().vocab_size))));
      }
      return session.step(token);
    };
    Tensor logits;  // on a CUDA device: of the step before
    const auto decode = [&](std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i) {
        TokenDraw* draw = session.draw();
        if (draw == nullptr) {
          static_cast<void>(step().to(kCpu));  // where a token is drawn
          continue;
        }
        // As `generate` does it: the next step is queued before the token comes back.
        if (!logits.defined()) logits = step();
        draw->draw(logits, model.config().vocab_size, {.temperature = 0}, {});
        if (session.state().position() < after_ + tokens_) logits = session.step_drawn();
        static_cast<void>(draw->wait());
      }
    };
    Table table(format_of(json_),
                {{.key = "tokens", .number = true, .width = 10},
                 {.key = "us_per_token", .title = "us a token", .number = true, .format = "%.1f", .width = 13},
                 {.key = "state_bytes", .title = "state bytes", .number = true, .width = 11},
                 {.key = "tensor_bytes", .title = "tensors MiB", .number = true, .width = 11},
                 {.key = "resident_bytes", .title = "resident MiB", .number = true, .width = 13}});
    if (after_ > 0) {
      const double start = now_ms();
      take_prompt(session, rng, model.config().vocab_size);
      add_part(table, session.state(), (now_ms() - start) * 1e3 / static_cast<double>(after_));
    }
    constexpr std::int64_t kParts = 10;
    for (std::int64_t part = 0; part < kParts; ++part) {
      const std::int64_t count = tokens_ * (part + 1) / kParts - tokens_ * part / kParts;
      if (count == 0) continue;
      const double start = now_ms();
      decode(count);
      add_part(table, session.state(), (now_ms() - start) * 1e3 / static_cast<double>(count));
    }
    return kOk;
  }

  // In pieces, so that the logits of a long prompt take little memory.
  void take_prompt(DecodingSession& session, Rng& rng, std::int64_t vocabulary) const {
    constexpr std::int64_t kPiece = 512;
    for (std::int64_t done = 0; done < after_; done += kPiece) {
      const std::int64_t count = std::min(kPiece, after_ - done);
      const Tensor tokens = Tensor::empty({sequences_, count}, DType::i32);
      for (std::int64_t i = 0; i < tokens.numel(); ++i) {
        tokens.set(i, static_cast<double>(rng.below(static_cast<std::uint64_t>(vocabulary))));
      }
      const Tensor logits = session.prefill(tokens);
      if (done + count == after_) static_cast<void>(logits.slice(0, 1).to(kCpu));  // a device has done all of it
    }
  }

  void add_part(Table& table, const DecoderState& state, double microseconds) const {
    const auto mebibytes_cell = [](std::size_t bytes) -> TableCell {
      char text[32];
      std::snprintf(text, sizeof text, "%.2f", mebibytes(bytes));
      return {bytes, text};
    };
    table.add({state.position(), microseconds, state.bytes(),
               mebibytes_cell(pool_stats(training_.model_placement().device).in_use),
               mebibytes_cell(resident_bytes())});
  }

  // `apart`: of each rank without the others.
  void report(const StepTimes& times, const std::vector<double>& apart, const Communicator& ranks) const {
    const double mean = std::accumulate(apart.begin(), apart.end(), 0.0) / static_cast<double>(ranks.size());
    const double slowest = apart.empty() ? 0 : *std::max_element(apart.begin(), apart.end());
    const double scaling = mean / times.median;
    if (json_) {
      nlohmann::ordered_json object;
      object["ms_per_step"] = times.median;
      object["tokens_per_s"] = times.tokens_per_s;
      object["peak_bytes"] = times.peak;
      if (counts_allocations()) {
        object["allocations_per_step"] = times.allocations;
      } else {
        object["allocations_per_step"] = nullptr;  // sanitizer build: not counted
      }
      object["best_ms"] = times.best;
      object["threads"] = threads();
      if (!ranks.alone()) {
        object["ranks"] = ranks.size();
        object["sums_ms"] = times.sums;
        object["ms_per_step_apart"] = mean;
        object["ms_per_step_slowest_apart"] = slowest;
        object["scaling"] = scaling;
      }
      print_json(object);
      return;
    }
    std::printf("median %.2f ms a step (best %.2f), %.0f tokens/s, tensors at most %.1f MiB, ", times.median,
                times.best, times.tokens_per_s, mebibytes(times.peak));
    if (counts_allocations()) {
      std::printf("%g allocation%s a step", times.allocations, times.allocations == 1 ? "" : "s");
    } else {
      std::printf("allocations not counted in this build");
    }
    std::printf(", %s\n", count_text(threads(), "thread").c_str());
    if (ranks.alone()) return;
    std::printf(
        "%d ranks: a step waits %.2f ms for sums of gradients; without the other ranks %.2f ms a step (mean; slowest "
        "rank %.2f), scaling %.3f\n",
        ranks.size(), times.sums, mean, slowest, scaling);
  }

  std::string what_, trace_;
  ModelOptions model_;
  TrainingOptions training_;
  BenchOp op_;
  std::int64_t rounds_ = 20, tokens_ = 10000, after_ = 0, sequences_ = 1;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::bench() { return std::make_unique<Bench>(); }

}  // namespace mixgrad::app
