// mixgrad eval: the loss of trained models on texts, their answers on a task, their score on a suite of questions.
// It passes 400 lines because all that can be evaluated is chosen and printed here.
#include <algorithm>
#include <cstdio>
#include <optional>

#include "apps/data/run_text.h"
#include "apps/data/standard_input_data.h"
#include "apps/evaluation/text_evaluation.h"
#include "apps/evaluation/token_report.h"
#include "apps/options/model_options.h"
#include "apps/options/placement_options.h"
#include "apps/options/training_options.h"
#include "apps/output/error_line.h"
#include "apps/output/table.h"
#include "apps/output/version.h"
#include "apps/run/run_ranks.h"
#include "apps/run/task_report.h"
#include "apps/suites/suite.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/text/suggest.h"
#include "nn/distributed/agreement.h"
#include "nn/files/strict_json.h"
#include "nn/modules/finite_values.h"

namespace mixgrad::app {
namespace {

std::string suite_help() {
  std::string text = "Questions in the file of --data in place of a text:";
  for (const Suite& suite : suites()) text += "\n" + suite.name + ": " + suite.what;
  return text;
}

class Eval : public Verb {
 public:
  std::string summary() const override {
    return "Loss of a trained model on a text, its accuracy on a task, its score on a suite of questions";
  }
  std::string example() const override { return "mixgrad eval --checkpoint runs/char --data data/tinyshakespeare.txt"; }

  void declare(OptionSet& options) override {
    options.add_list("checkpoint", checkpoints_,
                     "Folder of a run, or one generation of it; several print a table, a row each", {.value = "DIR"});
    const auto own_reading = [this]() -> std::string {
      if (text_.data.empty()) return "without --data the data are read as the run read them";
      return suite_.empty() ? "" : "--suite reads its own kind of file";
    };
    text_.declare_data(options, OnResume::not_stored, OnResume::not_stored, own_reading);
    text_.declare_reset_state(options, own_reading);
    text_.declare_unknown(options);
    declare_texts(options);
    text_.declare_task(options, OnResume::not_stored,
                       useless_when([this] { return !text_.data.empty(); }, "--data gives the text to evaluate on"));
    OptionTraits of_task{.group = OptionGroup::data};
    of_task.useless = useless_when([this] { return !any_task(); }, "a text is evaluated, not a task");
    options.add("sequences", of_task_.sequences, kCount, "Sequences of the task", of_task);
    declare_suite(options);
    OptionTraits of_draws{.group = OptionGroup::data};
    of_draws.useless = useless_when([this] { return !any_task() && !generates(); }, "a text is evaluated, not a task");
    options.add("seed", of_task_.seed, "Which sequences of the task; of --suite prompts, seed of the draws", of_draws);
    options.add("batch", batch_, kBatch, "Sequences at a time, at most as many as there are");
    declare_threads(options, threads_);
    placement_.declare(options, {"stored", "f32", "f64", "bf16"},
                       "Type of the arithmetic; stored: the type of the parameters in the checkpoint");
    options.add("format", format_, format_names(), "How rows are printed; json: as --json",
                {.useless = useless_when([this] { return json_; }, "--json gives the format")});
    options.add_flag("json", json_, "JSON on stdout, one object a line");
    declare_timeout(options, timeout_, started_alone());
  }

  int run() override {
    const std::filesystem::path folder = checkpoints_.empty() ? "" : checkpoints_[0];
    return run_in_job(join_options(timeout_, folder), [this](Communicator& ranks) {
      ranks_ = of_task_.ranks = ranks.alone() ? nullptr : &ranks;
      return evaluate_all();
    });
  }

 private:
  int evaluate_all() {
    const auto empty = [](const std::string& path) { return path.empty(); };
    if (checkpoints_.empty() || std::any_of(checkpoints_.begin(), checkpoints_.end(), empty)) {
      raise<ValueError>("eval: --checkpoint DIR is required: the folder of a training run");
    }
    if (ranks_ != nullptr) refuse_standard_input("eval", text_.data, ranks_->size());
    if (ranks_ != nullptr) require_same_options();
    placement_.check_device();
    const ContextScope scope(placement_.context(threads_));
    if (!suite_.empty()) return score_suite();
    const TemporaryInput input(text_.data, text_.source);
    if (every_task()) return score_task();
    if (per_token_ || by_position_) return report_tokens();
    const bool one = checkpoints_.size() == 1 && text_.data.size() <= 1;
    if (!one || format_ == "markdown" || format_ == "csv") return compare();
    const TextEvaluation evaluation = text_evaluation();
    print_one(evaluation.evaluate(checkpoints_[0], evaluation.load(checkpoints_[0]), sources().front()));
    return kOk;
  }

  // Each rank runs its share of the batches, so all must have the same ones. Weights and texts are compared when they
  // are open.
  void require_same_options() const {
    require_same(*ranks_, {{"the program", version_text()},
                           {"the device", placement_.where().is_cpu() ? "cpu" : "cuda"},
                           {"--precision", placement_.precision},
                           {"--matmul-precision", placement_.matmul_precision},
                           {"the number of checkpoints", std::to_string(checkpoints_.size())},
                           {"the number of texts", std::to_string(text_.data.size())},
                           {"--split", split_},
                           {"--context", std::to_string(context_)},
                           {"--stride", std::to_string(stride_)},
                           {"--batch", std::to_string(batch_)},
                           {"--suite", suite_},
                           {"--task", text_.task},
                           {"--sequences", std::to_string(of_task_.sequences)},
                           {"--seed", std::to_string(of_task_.seed)},
                           {"--per-token", per_token_ ? "given" : "not given"},
                           {"--by-position", by_position_ ? "given" : "not given"}});
  }

  void declare_texts(OptionSet& options) {
    OptionTraits of_text{.group = OptionGroup::data};
    of_text.useless = [this]() -> std::string {
      if (!suite_.empty()) return "--suite asks the questions of a file, which is not split";
      return any_task() ? "a task is not split" : "";
    };
    options.add("split", split_, {"valid", "train", "all"},
                "valid: the last 10 % of the tokens; train: the rest; all: every token", of_text);
    OptionTraits of_windows{.group = OptionGroup::data};
    of_windows.useless = [this]() -> std::string {
      if (!suite_.empty()) return "the questions of --suite have lengths of their own";
      return any_task() ? "the task decides the length" : "";
    };
    options.add("context", context_, {0, kMaxContext},
                "Tokens of a window, also more than in training where the positions allow it; 0 = the model's",
                of_windows);
    options.add("stride", stride_, {0, kMaxContext},
                "Tokens from window to window: below the context each token has at least the rest before it; 0 = the "
                "context",
                of_windows);
    OptionTraits of_tokens = of_windows;
    of_tokens.group = OptionGroup::run;
    options.add_flag("by-position", by_position_, "The loss by the position in the window", of_tokens);
    of_tokens.useless = [this, windows = of_windows.useless]() -> std::string {
      if (by_position_) return "--by-position prints positions";
      if (format_ != "table" && format_ != "json") return "it prints JSON lines, whatever --format";
      return windows();
    };
    options.add_flag("per-token", per_token_, "A JSON line for each token: its id, text and loss", of_tokens);
  }

  void declare_suite(OptionSet& options) {
    OptionTraits traits{.group = OptionGroup::data, .value = "NAME", .not_empty = true};
    traits.useless = useless_when([this] { return !text_.task.empty(); }, "--task gives the questions");
    options.add("suite", suite_, suite_help(), traits);
    OptionTraits of_answers{.group = OptionGroup::data};
    of_answers.useless = useless_when([this] { return !generates(); }, "it belongs to --suite prompts");
    options.add("tokens", suite_tokens_, kCount, "Tokens of a continuation of --suite prompts", of_answers);
    options.add("temperature", temperature_, RealRange{},
                "Of the draws of --suite prompts; 0 = always the likeliest token", of_answers);
  }

  bool generates() const {
    const std::vector<std::string> names = suite_names();
    return std::find(names.begin(), names.end(), suite_) != names.end() && suite_by_name(suite_).generates;
  }

  Format format() const { return json_ ? Format::json : format_named(format_); }

  // The texts to evaluate on; "" is that of each run.
  std::vector<std::string> sources() const { return text_.data.empty() ? std::vector<std::string>{""} : text_.data; }

  TextEvaluation text_evaluation() const {
    return {.text = text_,
            .split = split_,
            .how = {.batch = batch_, .context = context_, .stride = stride_, .ranks = ranks_},
            .placement = placement_,
            .several = checkpoints_.size() > 1};
  }

  // The task that the checkpoint is to be scored on: that of --task, or without --task and --data the run's own; "" is
  // a text. Whatever is wrong with the checkpoint is reported when it is loaded.
  std::string task_for(const std::string& checkpoint) const {
    if (!text_.task.empty() || !text_.data.empty()) return text_.task;
    try {
      return text_of_run("eval", checkpoint).task;
    } catch (const Error&) {
      return {};
    }
  }
  bool any_task() const {
    return std::any_of(checkpoints_.begin(), checkpoints_.end(),
                       [this](const std::string& path) { return !task_for(path).empty(); });
  }
  // ValueError when some runs have a task and others a text.
  bool every_task() const {
    for (const std::string& path : checkpoints_) {
      if (any_task() && task_for(path).empty()) {
        raise<ValueError>("eval: ", path, " was trained on a text, and another checkpoint on a task; give --task or ",
                          "--data, or evaluate them one by one");
      }
    }
    return any_task();
  }

  struct Scored {
    std::string task;
    TaskScore score;
  };
  Scored score_one(const std::string& path) const {
    const Checkpoint checkpoint = text_evaluation().load(path);
    const TaskPtr task = parse_task(task_for(path));
    if (ranks_ != nullptr) {
      require_same(*ranks_, {{"the task", task->text()}, {"the weights, as XXH3,", weights_hash(*checkpoint.model)}});
    }
    TaskEvaluationOptions how = of_task_;
    how.batch = std::min(batch_, how.sequences);
    if (text_.task.empty()) say("the task is the one that " + path + " was trained on, " + task->text());
    return {task->text(), evaluate_task(*checkpoint.model, *task, how)};
  }

  int score_task() const {
    const bool rows = format() == Format::markdown || format() == Format::csv;
    if (checkpoints_.size() == 1 && !rows) {
      const Scored scored = score_one(checkpoints_.front());
      print_task_score(format(), scored.task, scored.score);
      return kOk;
    }
    Table table(format(), {{.key = "checkpoint"},
                           {.key = "accuracy", .number = true, .format = "%.4f"},
                           {.key = "low", .number = true, .format = "%.4f"},
                           {.key = "high", .number = true, .format = "%.4f"},
                           {.key = "loss", .number = true, .format = "%.4f"},
                           {.key = "answers", .number = true},
                           {.key = "task"}});
    int code = kOk;
    for (const std::string& path : checkpoints_) {
      code = std::max(code, attempt([&] {
                        const auto [task, score] = score_one(path);
                        const Proportion::Interval interval = score.answers.interval();
                        table.add({{json_text(path), path},
                                   score.answers.share(),
                                   interval.low,
                                   interval.high,
                                   score.loss,
                                   score.answers.count,
                                   task});
                      }));
    }
    table.finish();
    return code;
  }

  // What goes wrong with one row does not prevent the others; the command then ends with its exit code. In a job of
  // several processes it ends the command, since other ranks may not have met it.
  template <class Work>
  int attempt(const Work& work) const {
    if (ranks_ != nullptr) {
      work();
      return kOk;
    }
    try {
      work();
    } catch (const FormatError& error) {
      return fail(kBadInput, error.what());
    } catch (const IoError& error) {
      return fail(kSystem, error.what());
    } catch (const NotFinite& error) {
      return fail(kCheckFailed, error.what());
    }
    return kOk;
  }

  static nlohmann::ordered_json bits_per_byte(const EvaluatedText& evaluated) {
    return evaluated.is_text ? nlohmann::ordered_json(evaluated.result.bits_per_byte) : nlohmann::ordered_json();
  }
  // Of the loss; null where there is none.
  static nlohmann::ordered_json low(const Evaluation& result) {
    return result.interval ? nlohmann::ordered_json(result.interval->low) : nlohmann::ordered_json();
  }
  static nlohmann::ordered_json high(const Evaluation& result) {
    return result.interval ? nlohmann::ordered_json(result.interval->high) : nlohmann::ordered_json();
  }

  // A row for each checkpoint and each text of it, in the order in which they were given.
  int compare() const {
    Table table(format(), {{.key = "checkpoint"},
                           {.key = "loss", .number = true, .format = "%.4f"},
                           {.key = "low", .number = true, .format = "%.4f"},
                           {.key = "high", .number = true, .format = "%.4f"},
                           {.key = "perplexity", .number = true, .format = "%.3f"},
                           {.key = "bits_per_byte", .title = "bits per byte", .number = true, .format = "%.4f"},
                           {.key = "targets", .title = "tokens", .number = true},
                           {.key = "split", .shown = ShownIn::json},
                           {.key = "data", .title = "text"}});
    const TextEvaluation evaluation = text_evaluation();
    int code = kOk;
    for (const std::string& path : checkpoints_) {
      const int loaded = attempt([&] {
        const Checkpoint checkpoint = evaluation.load(path);
        for (const std::string& source : sources()) {
          code = std::max(code, attempt([&] {
                            const EvaluatedText evaluated = evaluation.evaluate(path, checkpoint, source);
                            const Evaluation& result = evaluated.result;
                            table.add({{json_text(path), path},
                                       result.loss,
                                       low(result),
                                       high(result),
                                       result.perplexity,
                                       bits_per_byte(evaluated),
                                       result.targets,
                                       split_,
                                       {json_text(evaluated.source), evaluated.source}});
                          }));
        }
      });
      code = std::max(code, loaded);
    }
    table.finish();
    return code;
  }

  int report_tokens() const {
    if (checkpoints_.size() > 1 || text_.data.size() > 1) {
      raise<ValueError>("eval: ", per_token_ ? "--per-token" : "--by-position",
                        " takes one checkpoint and one text; got ", checkpoints_.size(), " and ", text_.data.size(),
                        "; evaluate them one by one");
    }
    const TextEvaluation evaluation = text_evaluation();
    const Checkpoint checkpoint = evaluation.load(checkpoints_[0]);
    LossByPosition positions;
    const auto sink =
        per_token_ ? token_printer(*checkpoint.tokenizer) : [&](const TokenLoss& token) { positions.add(token); };
    const EvaluatedText evaluated = evaluation.evaluate(checkpoints_[0], checkpoint, sources()[0], sink);
    if (by_position_) positions.print(format());
    char mean[64];
    std::snprintf(mean, sizeof mean, "%.4f nats a token over ", evaluated.result.loss);
    say("loss " + (mean + std::to_string(evaluated.result.targets)) + " tokens of " + evaluated.source);
    return kOk;
  }

  int score_suite() const {
    parse_suite();
    if (text_.data.size() != 1) {
      raise<ValueError>("eval: --suite ", suite_, " needs its file: --data FILE; got ", text_.data.size(), " sources");
    }
    const Suite& suite = suite_by_name(suite_);
    const bool several = checkpoints_.size() > 1;
    std::optional<Table> table;
    int code = kOk;
    for (const std::string& path : checkpoints_) {
      code = std::max(code, attempt([&] {
                        const Checkpoint checkpoint = text_evaluation().load(path);
                        SuiteTable rows = suite.run(suite_input(path, checkpoint));
                        if (several) rows.columns.insert(rows.columns.begin(), {.key = "checkpoint"});
                        if (!table) table.emplace(format(), rows.columns);
                        for (std::vector<TableCell>& row : rows.rows) {
                          if (several) row.insert(row.begin(), {json_text(path), path});
                          table->add(row);
                        }
                      }));
    }
    if (table) table->finish();
    return code;
  }

  void parse_suite() const {
    const std::vector<std::string> names = suite_names();
    if (std::find(names.begin(), names.end(), suite_) != names.end()) return;
    raise<ValueError>("eval: --suite must be one of ", join(names), "; got ", quote(suite_), "; ",
                      did_you_mean(suite_, names), "choose one of them");
  }

  SuiteInput suite_input(const std::string& path, const Checkpoint& checkpoint) const {
    if (!checkpoint.tokenizer->is_text()) {
      raise<FormatError>(path, ": --suite needs a model of text; this one is of token ids; take another checkpoint");
    }
    const UnknownRule unknown = parse_unknown(text_.unknown);
    const bool any = checkpoint.tokenizer->expresses_any_text();
    if (unknown.action != UnknownRule::Action::refuse && any && checkpoints_.size() == 1) {
      raise<ValueError>(
          "--unknown cannot be given here: the tokenizer of the checkpoint can express any text; leave it out");
    }
    return {.model = *checkpoint.model,
            .tokenizer = *checkpoint.tokenizer,
            .file = text_.data.front(),
            .unknown = any ? UnknownRule{} : unknown,
            .batch = batch_,
            .tokens = suite_tokens_,
            .temperature = temperature_,
            .seed = of_task_.seed};
  }

  void print_one(const EvaluatedText& evaluated) const {
    const auto& [result, source, is_text] = evaluated;
    const auto number = [](const char* format, double value) {
      char text[32];
      std::snprintf(text, sizeof text, format, value);
      return std::string(text);
    };
    std::string remark = "nats a token";
    if (result.interval) {
      remark += ", 95 %: " + number("%.4f", result.interval->low) + " to " + number("%.4f", result.interval->high);
    }
    print_figures(
        format(),
        {{.key = "loss", .value = result.loss, .label = "loss", .text = number("%.4f", result.loss), .remark = remark},
         {.key = "perplexity",
          .value = result.perplexity,
          .label = "perplexity",
          .text = number("%.3f", result.perplexity)},
         {.key = "bits_per_byte",
          .value = bits_per_byte(evaluated),
          .label = "bits per byte",
          .text = is_text ? number("%.4f", result.bits_per_byte) : "-",
          .remark = is_text ? "" : "the tokens are no text"},
         {.key = "targets",
          .value = result.targets,
          .label = "tokens",
          .text = std::to_string(result.targets),
          .remark = "(" + split_ + " of " + source + ")"},
         {.key = "split", .value = split_, .label = "", .text = "", .shown = ShownIn::json},
         {.key = "data", .value = json_text(source), .label = "", .text = "", .shown = ShownIn::json},
         {.key = "low", .value = low(result), .label = "", .text = "", .shown = ShownIn::json},
         {.key = "high", .value = high(result), .label = "", .text = "", .shown = ShownIn::json}});
  }

  ModelOptions text_;
  PlacementOptions placement_{.precision = "stored"};
  std::vector<std::string> checkpoints_;
  std::string split_ = "valid", suite_, format_ = "table";
  std::int64_t batch_ = kEvalBatch, threads_ = 0, context_ = 0, stride_ = 0, suite_tokens_ = 200;
  double temperature_ = 1, timeout_ = kTimeout;
  TaskEvaluationOptions of_task_;
  Communicator* ranks_ = nullptr;  // of a job of several processes
  bool json_ = false, by_position_ = false, per_token_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::eval() { return std::make_unique<Eval>(); }

}  // namespace mixgrad::app
