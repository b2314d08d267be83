// What `mixgrad train` does, in order, from the check of the options to the first step.
#include "apps/verbs/train/train.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "apps/data/standard_input_data.h"
#include "apps/output/error_line.h"
#include "apps/output/standard_output.h"
#include "apps/output/table.h"
#include "apps/output/version.h"
#include "apps/process/signals.h"
#include "apps/run/run_ranks.h"
#include "apps/run/schedule_notes.h"
#include "apps/run/training_plan.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/system/interrupt.h"
#include "core/text/plural.h"
#include "nn/data/prepared.h"
#include "nn/data/sources.h"
#include "nn/distributed/agreement.h"
#include "nn/files/file.h"
#include "nn/files/folder.h"
#include "nn/files/metrics_file.h"
#include "nn/modules/freeze.h"
#include "nn/modules/lr_scale.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;

// The one that is being written, the last, the one that it continues, and the best; a run that was resumed from an
// older generation has its later ones besides until it has passed their steps.
constexpr std::int64_t kGenerationsAtOnce = 4;

}  // namespace

int Train::run() {
  const SignalScope signals;
  if (plan_) return train(nullptr);
  return run_in_job(join_options(training_.timeout, out_.empty() ? resume_ : out_),
                    [this](Communicator& ranks) { return run_on(ranks); });
}

int Train::run_on(Communicator& ranks) {
  if (run_.json && ranks.leads()) require_open_stdout("train: --json");
  try {
    return train(ranks.alone() ? nullptr : &ranks);
  } catch (const Interrupted& cut) {
    std::fprintf(stderr, "mixgrad: stopped by %s before the first step; nothing was written\n",
                 signal_name(cut.signal));
    ranks.leave(std::string("it was stopped by ") + signal_name(cut.signal) + " before the first step");
    return 128 + cut.signal;
  } catch (const OutOfMemory& error) {
    if (!holds_run(run_.out)) throw;
    raise<OutOfMemory>(error.what(), "; checkpoints in ", run_.out.string(), " are intact");
  }
}

void Train::require_same_run(Communicator& ranks) const {
  Facts facts{{"the program", version_text()},
              {"the device", training_.model_placement().device.is_cpu() ? "cpu" : "cuda"},
              {"--out", out_},
              {"--resume", resume_},
              {"--stop-after", std::to_string(run_.stop_after)},
              {"--timeout", std::to_string(training_.timeout)}};
  for (const auto& [name, value] : state_.options) {
    const bool may_differ = name == "threads" || name == "data" || name == "valid";  // the texts are compared
    if (!may_differ) facts.emplace_back("--" + name, value);
  }
  require_same(ranks, facts);
}

void Train::require_same_start(Communicator& ranks, const Decoder& model) const {
  require_same(ranks, {{"the size of the text in bytes", std::to_string(state_.text_bytes)},
                       {"the text, as XXH3,", state_.text_xxh3},
                       {"the step", std::to_string(state_.step)},
                       {"the weights, as XXH3,", weights_hash(model)}});
}

int Train::train(Communicator* ranks) {
  const bool leads = ranks == nullptr || ranks->leads();
  run_.ranks = ranks;
  training_.check();
  if (ranks != nullptr) refuse_for_ranks(ranks->size());
  if (ranks != nullptr) require_same_run(*ranks);
  run_.early_stop = parse_early_stop(early_stop_);
  run_.trace = trace_;
  training_.placement.check_device();
  const ContextScope scope(training_.context());
  refuse_packed_heads(model_.source.reset_state);
  if (matches_heads() && training_.dropout > 0) {
    raise<ValueError>("--dropout cannot be given with --distill-stage heads, whose heads are computed without it; ",
                      "leave it out");
  }
  if (matches_heads() && training_.recompute) {
    raise<ValueError>(
        "--recompute cannot be given with --distill-stage heads, which keeps no layer for a backward pass; ",
        "leave it out");
  }
  if (plan_) return print_plan();
  choose_folder();
  KeptInput input(model_.data, model_.source, run_.out);
  if (!resumed()) {
    state_.rng_seed = training_.seed;
    state_.rng_counter = kFirstDraw;
  }
  const Opened opened = open();
  Decoder& model = *opened.model;
  const RunData& data = opened.data;
  state_.text_bytes = data.id().bytes;
  state_.text_xxh3 = data.id().xxh3;
  if (data.text() != nullptr) check_text(*data.text(), model.config().context);
  if (data.text() == nullptr) run_.sample.tokens = 0;
  const std::unique_ptr<Objective> objective = open_objective(model, data);
  run_.objective = objective.get();
  const std::int64_t frozen = freeze(model.parameters(), training_.frozen);
  scale_learning_rates(model.parameters(), training_.lr_scales);
  describe(model, data, frozen);
  for (const std::string& note : schedule_notes(training_.schedule_values(), stored_steps_, state_)) say(note);
  const std::unique_ptr<Optimizer> optimizer = make_optimizer(training_.optimizer_settings(), model.parameters());
  if (resumed()) load_optimizer(generation_, state_, *optimizer);
  const std::uintmax_t bytes = generation_bytes(model, data.tokenizer(), *optimizer);
  const std::int64_t saves = run_.schedule(training_.steps).saves_after(state_.step);
  check_disk_space(run_.out, bytes, std::min(saves, kGenerationsAtOnce));
  if (ranks != nullptr) require_same_start(*ranks, model);
  check_interrupt_of(ranks);
  std::optional<FolderLock> lock;
  if (leads) {
    make_folder(run_.out);
    lock.emplace(run_.out, "another mixgrad train");
    sweep_leftovers(run_.out);
  }
  if (resumed() && leads) {
    const LaterLines later = begin_course() ? LaterLines::back_up : LaterLines::drop;
    const fs::path from = generation_.parent_path() / "metrics.jsonl";
    const std::string note = continue_metrics(from, run_.out / "metrics.jsonl", state_.step - 1, later);
    if (!note.empty()) say(note);
  }
  store_data();
  input.release();
  if (ranks != nullptr) ranks->meet("the start of the run");
  return RunLoop(model, data, *optimizer, training_, run_, state_).run();
}

ModelConfig Train::planned_config() const {
  const std::string from = resumed() ? resume_ : checkpoint_;
  if (from.empty() && !model_.task.empty()) return task_model_config(model_, *parse_task(model_.task));
  if (from.empty()) return model_.config(model_.open_data().tokenizer().vocab_size());
  const fs::path path = find_generation(from) / "config.json";
  return parse_model_config(read_text(path), path.string());
}

TokenizerPtr Train::planned_tokenizer() const {
  if (!model_.task.empty()) return parse_task(model_.task)->tokenizer();
  const std::string from = resumed() ? resume_ : checkpoint_;
  if (from.empty()) return model_.open_data().tokenizer_ptr();
  const fs::path path = find_generation(from) / "tokenizer.json";
  return load_tokenizer(read_text(path), path.string());
}

int Train::print_plan() {
  const Launch launch = read_launch(process_environment());
  if (launch.rank != 0) return kOk;
  if (launch.size > 1) {
    refuse_for_ranks(launch.size);
    const std::int64_t whole = training_.batch;
    training_.batch = StepRanks{.rank = 0, .size = launch.size}.end(whole);
    say("the memory of one of " + std::to_string(launch.size) + " processes, which runs at most " +
        std::to_string(training_.batch) + " of the " + count_text(whole, "sequence") + " of a micro-batch");
  }
  const TemporaryInput input(model_.data, model_.source);
  const TokenizerPtr tokenizer = distill_.any() ? planned_tokenizer() : nullptr;
  print_training_plan({.config = planned_config(), .tokenizer = tokenizer, .processes = launch.size}, training_,
                      distill_, kGenerationsAtOnce, format_of(run_.json));
  return kOk;
}

std::string Train::left_out() const {
  const bool prepared = model_.data.size() == 1 && is_prepared(model_.data[0]);
  if (model_.data.empty() || prepared) return {};
  SourceList list = find_sources(model_.data);
  if (model_.source.valid_choice().kind == ValidChoice::Kind::sources) {
    list.count_left_out_of(find_sources(model_.source.valid));
  }
  return list.left_out_text();
}

void Train::describe(const Decoder& model, const RunData& data, std::int64_t frozen) const {
  std::fprintf(stderr, "%s%s\n", data.describe().c_str(), left_out().c_str());
  const Device device = model.device();
  const std::string still = frozen > 0 ? " (" + std::to_string(frozen) + " of them frozen)" : "";
  std::fprintf(stderr, "model: %s%s, %s, %s, %s\n", count_text(model.parameters().count(), "parameter").c_str(),
               still.c_str(), count_text(static_cast<std::int64_t>(model.config().layers.size()), "layer").c_str(),
               training_.placement.precision.c_str(),
               device.is_cpu() ? count_text(threads(), "thread").c_str() : device.str().c_str());
  if (resumed()) {
    std::fprintf(stderr, "resuming from %s, after step %lld of %lld\n", generation_.c_str(),
                 static_cast<long long>(state_.step), static_cast<long long>(training_.steps));
  }
}

std::unique_ptr<Verb> verbs::train() { return std::make_unique<Train>(); }

}  // namespace mixgrad::app
