// mixgrad train: where a run begins or is resumed, and everything before its first step. The steps: run_loop.cpp.
// It passes 400 lines because all that is refused before a run begins stands here.
#include <algorithm>
#include <cstdio>

#include "apps/data/run_text.h"
#include "apps/data/standard_input_data.h"
#include "apps/options/distill_options.h"
#include "apps/options/model_options.h"
#include "apps/options/option_value.h"
#include "apps/options/stored_options.h"
#include "apps/options/training_options.h"
#include "apps/output/error_line.h"
#include "apps/output/standard_output.h"
#include "apps/output/table.h"
#include "apps/output/version.h"
#include "apps/process/signals.h"
#include "apps/run/open_run.h"
#include "apps/run/run_data.h"
#include "apps/run/run_loop.h"
#include "apps/run/run_ranks.h"
#include "apps/run/schedule_notes.h"
#include "apps/run/training_plan.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/system/interrupt.h"
#include "core/text/parse_number.h"
#include "core/text/plural.h"
#include "nn/data/prepared.h"
#include "nn/data/sources.h"
#include "nn/distributed/agreement.h"
#include "nn/files/file.h"
#include "nn/files/folder.h"
#include "nn/files/metrics_file.h"
#include "nn/modules/freeze.h"
#include "nn/modules/lr_scale.h"
#include "nn/tokenizers/tokenizer_types.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;

// The one that is being written, the last, the one that it continues, and the best; a run that was resumed from an
// older generation has its later ones besides until it has passed their steps.
constexpr std::int64_t kGenerationsAtOnce = 4;

class Train : public Verb, private StoredOptions {
 public:
  std::string summary() const override { return "Train a model on a text, other data or a task"; }
  std::string example() const override { return "mixgrad train --preset char --out runs/char"; }

  void declare(OptionSet& options) override {
    options.add("out", out_, "Folder of the run: checkpoints and metrics.jsonl; must not hold a run already",
                {.value = "DIR", .on_resume = OnResume::not_stored});
    options.add("resume", resume_, "Resume this run, or this generation of it; the result is the same bits",
                {.value = "DIR", .on_resume = OnResume::not_stored, .resumes_run = true});
    options.add("checkpoint", checkpoint_, "Start from the weights of this run or generation",
                {.value = "DIR", .loads_checkpoint = true});
    options.add("stop-after", run_.stop_after, kCountOrNone, "Stop after this many steps of the schedule; 0 = all",
                {.on_resume = OnResume::not_stored});
    options.add("eval-every", run_.eval_every, kCountOrNone,
                "Steps between evaluations on the validation split; 0 = only at the end",
                {.on_resume = OnResume::may_change,
                 .useless = useless_when([this] { return !validates(); }, "--valid none has no evaluation")});
    options.add("save-every", run_.save_every, kCountOrNone,
                "Steps between checkpoints; one is written before each evaluation as well",
                {.on_resume = OnResume::may_change});
    options.add("log-every", run_.log_every, kCount, "Steps between logged steps", {.on_resume = OnResume::may_change});
    options.add("early-stop", early_stop_,
                "patience=N[,min-delta=X]: stop after N consecutive evaluations without an improvement of at least X",
                {.value = "RULE", .useless = [this]() -> std::string {
                   if (!validates()) return "--valid none has no evaluation";
                   return run_.eval_every == 0 ? "--eval-every 0 has no evaluation before the end" : "";
                 }});
    options.add("skip-nonfinite", run_.skip_nonfinite, kCountOrNone,
                "Leave out up to this many steps whose loss or gradient is not finite; 0 = stop at the first");
    options.add(
        "sampling", sampling_, {"random", "shuffle"},
        "random: windows that begin anywhere; shuffle: windows side by side, each once an epoch",
        {.group = OptionGroup::data,
         .useless = useless_when([this] { return !model_.task.empty(); }, "the sequences of --task are generated"),
         .absent_means = "random"});
    training_.declare_seed(options);
    options.add_flag("plan", plan_, "Print the memory that the run needs, and stop",
                     {.on_resume = OnResume::not_stored});
    options.add(
        "trace", trace_, "Before the first step, run one like it and write here what each operator takes",
        {.value = "FILE", .on_resume = OnResume::not_stored, .not_empty = true, .useless = [this]() -> std::string {
           if (model_.source.reset_state) return "--reset-state runs documents in groups of other shapes each time";
           if (matches_heads()) return "--distill-stage heads runs each layer forward and backward by itself";
           return plan_ ? "--plan runs no step" : "";
         }});
    options.add_flag("json", run_.json, "One JSON line per logged step on stdout, and no sample",
                     {.on_resume = OnResume::not_stored});
    declare_sample(options);
    options.add_presets(model_presets(), PresetUse::complete);
    const auto as_before = useless_when([this] { return model_.data.empty() && !checkpoint_.empty(); },
                                        "without --data the data are read as the run of --checkpoint read them");
    model_.declare_data(options, OnResume::may_change, OnResume::fixed, as_before);
    model_.declare_reset_state(options, as_before);
    model_.declare_task(options, OnResume::fixed);
    model_.declare_model(options);
    declare_unknown(options);
    training_.declare_batch(options);
    training_.declare_steps(options);
    training_.declare_optimisation(options);
    training_.declare_dropout(options);
    training_.declare_recompute(options);
    training_.declare_frozen(options);
    training_.declare_ranks(options, started_alone());
    declare_timeout(options, training_.timeout, started_alone());
    distill_.declare(options);
    training_.declare_placement(options);
  }

  void declare_sample(OptionSet& options) {
    OptionTraits traits{.on_resume = OnResume::not_stored};
    traits.useless = [this]() -> std::string {
      if (!model_.task.empty()) return "a task has no text to continue";
      return run_.json ? "--json prints no sample" : "";
    };
    options.add("sample-tokens", run_.sample.tokens, kCountOrNone, "Tokens of the sample at the end; 0 = no sample",
                traits);
    traits.useless = [this, of_json = traits.useless]() -> std::string {
      return run_.sample.tokens == 0 ? "--sample-tokens 0 takes no sample" : of_json();
    };
    options.add("sample-temperature", run_.sample.temperature, RealRange{}, "As --temperature of generate", traits);
    traits.not_empty = true;
    options.add("sample-prompt", run_.sample.prompt, "Text that the sample continues; without it as generate", traits);
  }

  void declare_unknown(OptionSet& options) {
    model_.declare_unknown(options, {.useless = useless_when([this] { return checkpoint_.empty() && !resumed(); },
                                                             "a new run makes its vocabulary from its text"),
                                     .absent_means = "error"});
  }

  StoredOptions* stored_options() override { return this; }
  OptionTexts load() override {
    if (resume_.empty()) return {};
    text_given_ = !model_.data.empty();
    generation_ = find_generation(resume_);
    state_ = load_trainer_state(generation_);
    if (const auto steps = state_.options.find("steps"); steps != state_.options.end()) {
      stored_steps_ = mixgrad::parse_integer(steps->second).value_or(0);
    }
    return {state_.options.begin(), state_.options.end()};
  }
  void store(const OptionTexts& values) override {
    state_.options = {values.begin(), values.end()};
    store_data();
    if (model_.unknown.empty()) state_.options.erase("unknown");
    if (!model_.task.empty()) state_.options["context"] = std::to_string(parse_task(model_.task)->length());
  }

  int run() override {
    const SignalScope signals;
    if (plan_) return train(nullptr);
    return run_in_job(training_.timeout, [this](Communicator& ranks) { return run_on(ranks); });
  }

 private:
  int run_on(Communicator& ranks) {
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

  // Paths are stored as absolute ones, so that the run can be resumed from any folder.
  void store_data() {
    if (resumed() && !text_given_) return;  // as they were stored
    const std::map<std::string, std::string> values{{"data", list_text(SourceOptions::absolute_sources(model_.data))},
                                                    {"valid", model_.source.absolute_valid()},
                                                    {"field", model_.source.field},
                                                    {"column", model_.source.column},
                                                    {"codebooks", model_.source.codebooks},
                                                    {"codebook-size", std::to_string(model_.source.codebook_size)},
                                                    {"document-token", model_.source.document_token},
                                                    {"reset-state", model_.source.reset_state ? "true" : ""}};
    for (const auto& [name, value] : values) {
      const bool is_default = name == "codebook-size" ? model_.source.codebook_size == kCodebookSize : value.empty();
      state_.options.erase(name);
      if (name == "data" || !is_default) state_.options[name] = value;
    }
  }

  // The options that must be the same on every rank, before any of them opens a file.
  void require_same_run(Communicator& ranks) const {
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
  // What the ranks opened: text, step and weights.
  void require_same_start(Communicator& ranks, const Decoder& model) const {
    require_same(ranks, {{"the size of the text in bytes", std::to_string(state_.text_bytes)},
                         {"the text, as XXH3,", state_.text_xxh3},
                         {"the step", std::to_string(state_.step)},
                         {"the weights, as XXH3,", weights_hash(model)}});
  }

  // `ranks`: of a job of several processes, else null.
  int train(Communicator* ranks) {
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

  void refuse_for_ranks(int processes) const {
    if (training_.batch < processes) {
      raise<ValueError>("train: --batch is that of all processes together and must be at least their number, ",
                        processes, "; got ", training_.batch, "; give a larger --batch, or start fewer processes");
    }
    refuse_standard_input("train", model_.data, processes);
  }

  // What --distill minimises, with the teacher that it keeps; null without. Freezes what the stage leaves alone.
  std::unique_ptr<Objective> open_objective(Decoder& model, const RunData& data) {
    if (!distill_.any()) return nullptr;
    const Teacher teacher = load_teacher(distill_.teacher, training_.model_placement());
    const DistillOptions options = distill_.values();
    refuse_packed_heads(data.batches().document_start().has_value());  // as the run of --checkpoint read its data
    check_teacher(teacher, model, data.tokenizer(), options.stage);
    if (state_.teacher && state_.teacher->xxh3 != teacher.xxh3) {
      raise<ValueError>("--distill ", teacher.folder.string(), ": the run was begun with a teacher whose ",
                        "model.safetensors has the XXH3 ", state_.teacher->xxh3, ", that of ", state_.teacher->path,
                        "; here it is ", teacher.xxh3, "; give that teacher with --distill DIR");
    }
    state_.teacher = {teacher.folder.string(), teacher.xxh3};
    state_.options["distill"] = teacher.folder.string();
    if (options.stage == DistillStage::heads) freeze_kept_parameters(teacher.model->config(), model);
    std::fprintf(stderr, "teacher: %s, %s; loss is %s\n", teacher.folder.c_str(),
                 count_text(teacher.model->parameters().count(), "parameter").c_str(),
                 options.stage == DistillStage::heads ? "the share of the replaced heads' outputs that is missed"
                                                      : "that of the data and the divergence from the teacher, mixed");
    if (model.device().is_cuda()) say("with a teacher each step is driven by the host, not replayed as a CUDA graph");
    return make_distillation(teacher.model, model, options);
  }

  // Refuses now what would fail later, and tells what was left out.
  void check_text(const TokenData& text, std::int64_t context) const {
    if (validates()) {
      const EvalWindows windows(text, text.valid(), context);
    }
    run_.sample.start(text.tokenizer());
    if (const std::string note = unknown_note(text, parse_unknown(model_.unknown)); !note.empty()) say(note);
  }

  struct Opened {
    std::unique_ptr<Decoder> model;
    RunData data;
  };

  OpenRunOptions what_to_open() const {
    return {.weights = resumed() ? generation_ : fs::path(checkpoint_),
            .placement = training_.model_placement(),
            .seed = training_.seed,
            .identify = Identify::yes};
  }

  Opened open() {
    if (!model_.task.empty()) return open_task();
    OpenedRun text = open_text();
    if (sampling_ == "shuffle") text.data.set_sampling(Sampling::shuffle);
    return {std::move(text.model), RunData(std::move(text.data))};
  }

  Opened open_task() const {
    OpenedTaskRun run = open_task_run(model_, what_to_open());
    const TextId id = run.batches.id();
    if (resumed() && id != TextId{state_.text_bytes, state_.text_xxh3}) {
      raise<FormatError>(resume_, ": the run was trained on other sequences of ", model_.task,
                         " than this version generates; start a new run from its weights with --checkpoint");
    }
    return {std::move(run.model), RunData(std::move(run.batches), state_.rng_seed)};
  }

  OpenedRun open_text() {
    const auto open_it = [&] { return open_run(model_, what_to_open()); };
    if (resumed()) return open_again(open_it);
    if (checkpoint_.empty() || !model_.data.empty()) return open_it();
    const RunText own = text_of_run("train", checkpoint_);
    own.apply(model_);
    store_data();
    if (model_.unknown.empty() && !own.unknown.empty()) state_.options["unknown"] = model_.unknown = own.unknown;
    OpenedRun opened = with_run_text(own, open_it);
    require_run_text(own, opened.data);
    say("the text is the one that " + checkpoint_ + " was trained on, " + opened.data.source());
    return opened;
  }

  // A resumed run needs the text that it was trained on, which may lie elsewhere now.
  template <class Open>
  OpenedRun open_again(const Open& open_it) const {
    const RunText own = text_of_run(resume_, state_);
    try {
      OpenedRun opened = text_given_ ? open_it() : with_run_text(own, open_it);
      require_run_text(own, opened.data);
      return opened;
    } catch (const IoError&) {
      throw;
    } catch (const Error&) {  // that it is another text says more than what is wrong with it
      if (text_given_) require_same_text(own, model_.data);
      throw;
    }
  }

  bool validates() const { return model_.source.valid_choice().kind != ValidChoice::Kind::none; }
  bool resumed() const { return !resume_.empty(); }
  void refuse_packed_heads(bool resets_state) const {
    if (!matches_heads() || !resets_state) return;
    raise<ValueError>("--reset-state cannot be given with --distill-stage heads, which would learn from the padding ",
                      "behind short documents; leave it out");
  }
  bool matches_heads() const { return distill_.any() && distill_.stage == "heads"; }

  void choose_folder() {
    if (resumed() && out_.empty()) {
      const std::optional<fs::path> folder = run_of(generation_);
      if (!folder) {
        raise<ValueError>("--resume ", resume_,
                          ": this generation is not inside the folder of a run; give a folder with --out DIR");
      }
      out_ = folder->string();
    }
    if (out_.empty()) raise<ValueError>("train: --out DIR is required: the folder for checkpoints and metrics");
    run_.out = out_;
    std::error_code error;
    if (resumed() && fs::equivalent(run_.out, generation_.parent_path(), error)) return;
    if (holds_run(run_.out)) {
      raise<ValueError>("--out ", out_,
                        ": holds a run already; choose another folder, or resume that run with --resume ", out_,
                        " (nothing was changed)");
    }
    if (fs::file_size(run_.out / "metrics.jsonl", error) > 0 && !error) {
      raise<ValueError>("--out ", out_,
                        ": holds metrics.jsonl of a run that saved nothing yet; choose another folder or ",
                        "remove that file (nothing was changed)");
    }
  }

  ModelConfig planned_config() const {
    const std::string from = resumed() ? resume_ : checkpoint_;
    if (from.empty() && !model_.task.empty()) return task_model_config(model_, *parse_task(model_.task));
    if (from.empty()) return model_.config(model_.open_data().tokenizer().vocab_size());
    const fs::path path = find_generation(from) / "config.json";
    return parse_model_config(read_text(path), path.string());
  }

  // Of the data or the task, else of the checkpoint: the one that a teacher must have too.
  TokenizerPtr planned_tokenizer() const {
    if (!model_.task.empty()) return parse_task(model_.task)->tokenizer();
    const std::string from = resumed() ? resume_ : checkpoint_;
    if (from.empty()) return model_.open_data().tokenizer_ptr();
    const fs::path path = find_generation(from) / "tokenizer.json";
    return load_tokenizer(read_text(path), path.string());
  }

  // In a job of several processes rank 0 alone prints the plan, for its own share of the batch: no share is larger.
  int print_plan() {
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

  // Resuming from a generation that is not the newest leaves the course of the run. Whether it does.
  bool begin_course() {
    std::string left;
    for (const std::int64_t step : generations(run_.out)) {
      if (step > state_.step) left += (left.empty() ? "" : ", ") + generation_name(step);
    }
    const std::optional<GenerationId> newest = newest_generation(run_.out);
    if (!newest || *newest == GenerationId{state_.course, state_.step}) return false;
    state_.course = newest->course + 1;
    if (!left.empty()) say("each later generation is kept until the resumed run has passed its step: " + left);
    return true;
  }

  // What the folders and patterns of --data and --valid leave out: " (2 hidden files left out)".
  std::string left_out() const {
    const bool prepared = model_.data.size() == 1 && is_prepared(model_.data[0]);
    if (model_.data.empty() || prepared) return {};
    SourceList list = find_sources(model_.data);
    if (model_.source.valid_choice().kind == ValidChoice::Kind::sources) {
      list.count_left_out_of(find_sources(model_.source.valid));
    }
    return list.left_out_text();
  }

  void describe(const Decoder& model, const RunData& data, std::int64_t frozen) const {
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

  ModelOptions model_;
  TrainingOptions training_;
  DistillSettings distill_;
  RunOptions run_;
  std::string out_, resume_, checkpoint_, trace_, early_stop_, sampling_ = "random";
  fs::path generation_;  // of --resume
  TrainerState state_;
  std::int64_t stored_steps_ = 0;  // of the run that is resumed
  bool text_given_ = true;         // of a run that is resumed: with --data
  bool plan_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::train() { return std::make_unique<Train>(); }

}  // namespace mixgrad::app
