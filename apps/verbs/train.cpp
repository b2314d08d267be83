// mixgrad train: where a run begins or goes on, and what it needs before its first step. The steps: run_loop.cpp.
#include <algorithm>
#include <cstdio>

#include "apps/options/model_options.h"
#include "apps/options/training_options.h"
#include "apps/options/verb.h"
#include "apps/run/open_run.h"
#include "apps/run/run_loop.h"
#include "apps/run/signals.h"
#include "core/allocator.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/system/interrupt.h"
#include "core/text/bytes.h"
#include "nn/files/file.h"
#include "nn/files/folder.h"
#include "nn/training/memory_plan.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kGenerationsAtOnce = 4;  // the newest two, the best, and the one being written

bool one_of(const std::string& option, const std::vector<std::string>& names) {
  return std::find(names.begin(), names.end(), option) != names.end();
}

class Train : public Verb {
 public:
  std::string name() const override { return "train"; }
  std::string summary() const override { return "Train a model on a text file"; }
  std::string example() const override { return "mixgrad train --preset char --out runs/char"; }

  void declare(OptionSet& options) override {
    options.add_presets(model_presets());
    model_.declare(options);
    options.add("out", out_, "Folder of the run: checkpoints and metrics.jsonl; must not hold a run already");
    options.add("resume", resume_, "Go on with this run, or from this generation of it, to the same bits");
    options.add("checkpoint", checkpoint_, "Start from the weights of this run or generation");
    training_.declare(options);
    options.add("stop-after", run_.stop_after, kCountOrNone, "Stop after this many steps of the schedule; 0 = all");
    options.add("eval-every", run_.eval_every, kCountOrNone,
                "Steps between evaluations on the held-out part; 0 = only at the end");
    options.add("save-every", run_.save_every, kCountOrNone,
                "Steps between checkpoints; one is written before each evaluation as well");
    options.add("log-every", run_.log_every, kCount, "Steps between logged steps");
    options.add("early-stop", early_stop_,
                "patience=N[,min-delta=X]: stop after N evaluations in turn whose loss is not lower by X");
    options.add("skip-nonfinite", run_.skip_nonfinite, kCountOrNone,
                "Leave out up to this many steps whose loss or gradient is not finite; 0 = stop at the first");
    options.add_flag("plan", plan_, "Print the memory that the run will take, and stop");
    options.add_flag("json", run_.json, "One JSON line per logged step on stdout, and no sample");
  }

  std::string without_effect(const std::string& option) const override {
    return checkpoint_.empty() ? std::string() : ModelOptions::decided_by_checkpoint(option);
  }

  // What the bits of the result depend on; the rest may differ each time that a run goes on.
  bool keeps(const std::string& option) const override {
    return !one_of(option, {"preset", "out", "resume", "stop-after", "threads", "device", "plan", "json"});
  }
  bool may_change(const std::string& option) const override {
    return one_of(option, {"eval-every", "save-every", "log-every", "data"});  // data: its content must be the same
  }
  OptionTexts earlier_values() override {
    if (resume_.empty()) return {};
    generation_ = find_generation(resume_);
    state_ = load_trainer_state(generation_);
    return {state_.options.begin(), state_.options.end()};
  }
  void note_values(const OptionTexts& values) override {
    for (const auto& [option, value] : values) {
      if (keeps(option)) state_.options[option] = value;
    }
    if (!model_.data.empty()) state_.options["data"] = fs::absolute(model_.data).string();  // from wherever it goes on
  }

  int run() override {
    const SignalScope signals;
    try {
      return train();
    } catch (const Interrupted& cut) {
      std::fprintf(stderr, "mixgrad: stopped by %s before the first step; nothing was written\n",
                   signal_name(cut.signal));
      return 128 + cut.signal;
    } catch (const OutOfMemory& error) {
      if (!holds_run(run_.out)) throw;
      raise<OutOfMemory>(error.what(), "; checkpoints in ", run_.out.string(), " stand");
    }
  }

 private:
  int train() {
    training_.check();
    run_.early_stop = parse_early_stop(early_stop_);
    training_.placement.check_device();
    const ContextScope scope(training_.context());
    if (plan_) return print_plan();
    choose_folder();
    if (!resumed()) {
      state_.rng_seed = training_.seed;
      state_.rng_counter = std::uint64_t{1} << 63U;  // counters that no parameter's draw uses
    }
    const OpenedRun opened = open_run(model_, {.weights = resumed() ? generation_ : fs::path(checkpoint_),
                                               .placement = training_.place(),
                                               .seed = training_.seed,
                                               .identify = Identify::yes});
    Decoder& model = *opened.model;
    const TokenData& data = opened.data;
    const EvalWindows windows(data, data.valid(), model.config().context);  // refuses a text too short to validate on
    identify(data);
    describe(model, data);
    AdamW optimizer(model.parameters(), training_.adamw());
    if (resumed()) load_optimizer(generation_, state_, model.parameters(), optimizer);
    const std::uintmax_t bytes = generation_bytes(model, data.tokenizer());
    check_disk_space(run_.out, bytes, std::min(saves(), kGenerationsAtOnce));
    check_interrupt();
    make_folder(run_.out);
    const FolderLock lock(run_.out, "another mixgrad train");
    sweep_leftovers(run_.out);
    if (resumed()) {
      const fs::path from = generation_.parent_path() / "metrics.jsonl";
      continue_metrics(from, run_.out / "metrics.jsonl", state_.step - 1);
    }
    return RunLoop(model, data, optimizer, training_, run_, state_).run();
  }

  bool resumed() const { return !resume_.empty(); }

  void choose_folder() {
    if (resumed() && out_.empty()) {
      const std::optional<fs::path> folder = run_of(generation_);
      if (!folder) {
        raise<ValueError>("--resume ", resume_, ": this generation lies in no run's folder; give --out DIR for one");
      }
      out_ = folder->string();
    }
    if (out_.empty()) raise<ValueError>("train: --out DIR is required: the folder for checkpoints and metrics");
    run_.out = out_;
    std::error_code error;
    if (resumed() && fs::equivalent(run_.out, generation_.parent_path(), error)) return;
    if (holds_run(run_.out)) {
      raise<ValueError>("--out ", out_, ": holds a run already; choose another folder, or go on with it by --resume ",
                        out_, " (nothing was changed)");
    }
    if (fs::file_size(run_.out / "metrics.jsonl", error) > 0 && !error) {
      raise<ValueError>("--out ", out_,
                        ": holds metrics.jsonl of a run that saved nothing yet; choose another folder or ",
                        "remove that file (nothing was changed)");
    }
  }

  ModelConfig planned_config() const {
    const std::string from = resumed() ? resume_ : checkpoint_;
    if (from.empty()) return model_.config(model_.open_data().tokenizer().vocab_size());
    const fs::path path = find_generation(from) / "config.json";
    return parse_model_config(read_text(path), path.string());
  }

  int print_plan() const {
    const ModelConfig config = planned_config();
    const MemoryPlan plan = plan_training(config, training_.place(), training_.batch);
    const std::size_t free = free_memory_on(training_.place().device);
    const std::size_t checkpoint = plan.parameters + plan.optimizer;
    if (run_.json) {
      std::printf(
          "{\"parameters\":%zu,\"gradients\":%zu,\"optimizer\":%zu,\"activations\":%zu,\"peak\":%zu,"
          "\"reserved\":%zu,\"checkpoint\":%zu,\"free\":%zu}\n",
          plan.parameters, plan.gradients, plan.optimizer, plan.activations, plan.peak, plan.reserved, checkpoint,
          free);
      return kOk;
    }
    const auto row = [](const char* what, std::size_t bytes, const std::string& note) {
      std::printf("%-12s %12s  %s\n", what, bytes_text(bytes).c_str(), note.c_str());
    };
    row("parameters", plan.parameters, training_.placement.precision);
    row("gradients", plan.gradients, "");
    row("optimizer", plan.optimizer, "two moments");
    row("activations", plan.activations,
        "batch " + std::to_string(training_.batch) + ", context " + std::to_string(config.context) +
            (plan.traced_batch * 2 < training_.batch
                 ? "; estimated from a batch of " + std::to_string(plan.traced_batch)
                 : ""));
    row("peak", plan.peak, "of tensors; the pool takes " + bytes_text(plan.reserved) + " from the system");
    row("free", free, plan.reserved > free ? "TOO LITTLE: try a smaller --batch with more --accumulate" : "");
    row("checkpoint", checkpoint, "on disk, up to " + std::to_string(kGenerationsAtOnce) + " at a time");
    return kOk;
  }

  // The text that is there now must be the one that the run was trained on.
  void identify(const TokenData& data) {
    const TextId& text = data.text_id().value();
    if (resumed() && text != TextId{state_.text_bytes, state_.text_xxh3}) {
      raise<FormatError>(data.source(), ": resuming needs the text of this run, ", state_.text_bytes,
                         " bytes with the XXH3 ", state_.text_xxh3, "; this one has ", text.bytes, " bytes and ",
                         text.xxh3, "; give that text with --data, or start a new run with --checkpoint");
    }
    state_.text_bytes = text.bytes;
    state_.text_xxh3 = text.xxh3;
  }

  // How many checkpoints this run will write from here on, counting no step twice.
  std::int64_t saves() const {
    const std::int64_t last = run_.stop_after > 0 ? std::min(run_.stop_after, training_.steps) : training_.steps;
    const auto passes = [&](std::int64_t every) { return every > 0 ? last / every - state_.step / every : 0; };
    const std::int64_t both = std::max(passes(run_.save_every), passes(run_.eval_every));
    return std::max<std::int64_t>(both, 1);
  }

  void describe(const Decoder& model, const TokenData& data) const {
    std::fprintf(stderr, "%s: %lld tokens, %lld kinds, the last %lld held out\n", data.source().c_str(),
                 static_cast<long long>(data.size()), static_cast<long long>(data.tokenizer().vocab_size()),
                 static_cast<long long>(data.valid().size()));
    const Device device = model.device();
    std::fprintf(stderr, "model: %lld parameters, %zu layers, %s, %s\n",
                 static_cast<long long>(model.parameters().count()), model.config().layers.size(),
                 training_.placement.precision.c_str(),
                 device.is_cpu() ? (std::to_string(threads()) + " threads").c_str() : device.str().c_str());
    if (resumed()) {
      std::fprintf(stderr, "going on from %s, after step %lld of %lld\n", generation_.c_str(),
                   static_cast<long long>(state_.step), static_cast<long long>(training_.steps));
    }
  }

  ModelOptions model_;
  TrainingOptions training_;
  RunOptions run_;
  std::string out_, resume_, checkpoint_, early_stop_;
  fs::path generation_;  // of --resume
  TrainerState state_;
  bool plan_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_train() { return std::make_unique<Train>(); }

}  // namespace mixgrad::app
