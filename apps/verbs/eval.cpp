// mixgrad eval: the loss of a trained model on a text, or its answers on a task.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "apps/options/model_options.h"
#include "apps/options/placement_options.h"
#include "apps/output/error_line.h"
#include "apps/output/table.h"
#include "apps/run/checkpoint_text.h"
#include "apps/run/run_text.h"
#include "apps/run/standard_input_data.h"
#include "apps/run/task_report.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/parallel.h"
#include "nn/files/generations.h"
#include "nn/files/safetensors.h"
#include "nn/files/strict_json.h"
#include "nn/modules/finite_values.h"
#include "nn/training/checkpoint.h"
#include "nn/training/evaluation.h"

namespace mixgrad::app {
namespace {

class Eval : public Verb {
 public:
  std::string summary() const override { return "Loss of a trained model on a text, or its accuracy on a task"; }
  std::string example() const override { return "mixgrad eval --checkpoint runs/char --data data/tinyshakespeare.txt"; }

  void declare(OptionSet& options) override {
    options.add_list("checkpoint", checkpoints_,
                     "Folder of a run, or one generation of it; several print a table, a row each", {.value = "DIR"});
    text_.declare_data(options, OnResume::not_stored, OnResume::not_stored,
                       useless_when([this] { return text_.data.empty(); },
                                    "without --data the data are read as the run "
                                    "read them"));
    text_.declare_unknown(options);
    OptionTraits of_text{.group = OptionGroup::data};
    of_text.useless = useless_when([this] { return any_task(); }, "a task is not split");
    options.add("split", split_, {"valid", "train", "all"},
                "valid: the last 10 % of the tokens; train: the rest; all: every token", of_text);
    text_.declare_task(options, OnResume::not_stored,
                       useless_when([this] { return !text_.data.empty(); }, "--data gives the text to evaluate on"));
    OptionTraits of_task{.group = OptionGroup::data};
    of_task.useless = useless_when([this] { return !any_task(); }, "a text is evaluated, not a task");
    options.add("sequences", of_task_.sequences, kCount, "Sequences of the task", of_task);
    options.add("seed", of_task_.seed, "Which sequences of the task", of_task);
    options.add("batch", batch_, kBatch, "Sequences at a time, at most as many as there are");
    declare_threads(options, threads_);
    placement_.declare(options, {"stored", "f32", "f64", "bf16"},
                       "Type of the arithmetic; stored: the type of the parameters in the checkpoint");
    options.add_flag("json", json_, "JSON on stdout, one object a line");
  }

  int run() override {
    const auto empty = [](const std::string& path) { return path.empty(); };
    if (checkpoints_.empty() || std::any_of(checkpoints_.begin(), checkpoints_.end(), empty)) {
      raise<ValueError>("eval: --checkpoint DIR is required: the folder of a training run");
    }
    placement_.check_device();
    const ContextScope scope(placement_.context(threads_));
    const TemporaryInput input(text_.data, text_.source);
    if (every_task()) return score_task();
    if (checkpoints_.size() > 1) return compare();
    print_one(evaluate_one(checkpoints_.front()));
    return kOk;
  }

 private:
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
    const Checkpoint checkpoint = load(path);
    const TaskPtr task = parse_task(task_for(path));
    TaskEvaluationOptions how = of_task_;
    how.batch = std::min(batch_, how.sequences);
    if (text_.task.empty()) say("the task is the one that " + path + " was trained on, " + task->text());
    return {task->text(), evaluate_task(*checkpoint.model, *task, how)};
  }

  int score_task() const {
    if (checkpoints_.size() == 1) {
      const Scored scored = score_one(checkpoints_.front());
      print_task_score(format_of(json_), scored.task, scored.score);
      return kOk;
    }
    Table table(format_of(json_), {{.key = "checkpoint"},
                                   {.key = "accuracy", .number = true, .format = "%.4f"},
                                   {.key = "low", .number = true, .format = "%.4f"},
                                   {.key = "high", .number = true, .format = "%.4f"},
                                   {.key = "loss", .number = true, .format = "%.4f"},
                                   {.key = "answers", .number = true},
                                   {.key = "task"}});
    const int code = each_checkpoint([&](const std::string& path) {
      const auto [task, score] = score_one(path);
      const Proportion::Interval interval = score.answers.interval();
      table.add({{json_text(path), path},
                 score.answers.share(),
                 interval.low,
                 interval.high,
                 score.loss,
                 score.answers.count,
                 task});
    });
    table.finish();
    return code;
  }

  // One that cannot be read does not prevent the others; the command then ends with its exit code.
  template <class Evaluate>
  int each_checkpoint(const Evaluate& evaluate_it) const {
    int code = kOk;
    for (const std::string& path : checkpoints_) {
      try {
        evaluate_it(path);
      } catch (const FormatError& error) {
        code = std::max<int>(code, fail(kBadInput, error.what()));
      } catch (const IoError& error) {
        code = std::max<int>(code, fail(kSystem, error.what()));
      } catch (const NotFinite& error) {
        code = std::max<int>(code, fail(kCheckFailed, error.what()));
      }
    }
    return code;
  }

  struct Evaluated {
    Evaluation result;
    std::string source;   // of the text
    bool is_text = true;  // or else ids, which stand for no bytes

    nlohmann::ordered_json bits_per_byte() const {
      return is_text ? nlohmann::ordered_json(result.bits_per_byte) : nlohmann::ordered_json();
    }
  };

  Evaluated evaluate_one(const std::string& path) const {
    const Checkpoint checkpoint = load(path);
    const TokenData data = open_text(path, checkpoint);
    const TokenRange range = data.split(split_);
    // More sequences than there are windows would only be padding.
    const std::int64_t windows = EvalWindows(data, range, checkpoint.model->config().context).count();
    const Evaluation result = evaluate(*checkpoint.model, data, range, std::min(batch_, windows));
    if (!std::isfinite(result.loss)) {
      raise_not_finite("eval: " + data.source(), "the loss", result.loss, checkpoint.model->parameters());
    }
    return {result, data.source(), data.tokenizer().is_text()};
  }

  // A row for each checkpoint, in the order in which they were given.
  int compare() const {
    Table table(format_of(json_), {{.key = "checkpoint"},
                                   {.key = "loss", .number = true, .format = "%.4f"},
                                   {.key = "perplexity", .number = true, .format = "%.3f"},
                                   {.key = "bits_per_byte", .title = "bits per byte", .number = true, .format = "%.4f"},
                                   {.key = "targets", .title = "tokens", .number = true},
                                   {.key = "split", .shown = ShownIn::json},
                                   {.key = "data", .title = "text"}});
    const int code = each_checkpoint([&](const std::string& path) {
      const Evaluated evaluated = evaluate_one(path);
      const auto& [result, source, is_text] = evaluated;
      table.add({{json_text(path), path},
                 result.loss,
                 result.perplexity,
                 evaluated.bits_per_byte(),
                 result.targets,
                 split_,
                 {json_text(source), source}});
    });
    table.finish();
    return code;
  }

  void print_one(const Evaluated& evaluated) const {
    const auto& [result, source, is_text] = evaluated;
    const auto number = [](const char* format, double value) {
      char text[32];
      std::snprintf(text, sizeof text, format, value);
      return std::string(text);
    };
    print_figures(format_of(json_),
                  {{.key = "loss",
                    .value = result.loss,
                    .label = "loss",
                    .text = number("%.4f", result.loss),
                    .remark = "nats a token"},
                   {.key = "perplexity",
                    .value = result.perplexity,
                    .label = "perplexity",
                    .text = number("%.3f", result.perplexity)},
                   {.key = "bits_per_byte",
                    .value = evaluated.bits_per_byte(),
                    .label = "bits per byte",
                    .text = is_text ? number("%.4f", result.bits_per_byte) : "-",
                    .remark = is_text ? "" : "the tokens are no text"},
                   {.key = "targets",
                    .value = result.targets,
                    .label = "tokens",
                    .text = std::to_string(result.targets),
                    .remark = "(" + split_ + " of " + source + ")"},
                   {.key = "split", .value = split_, .label = "", .text = "", .shown = ShownIn::json},
                   {.key = "data", .value = json_text(source), .label = "", .text = "", .shown = ShownIn::json}});
  }

  TokenData open_text(const std::string& path, const Checkpoint& checkpoint) const {
    ModelOptions text = text_;
    if (checkpoints_.size() > 1 && !text.unknown.empty() && checkpoint.tokenizer->expresses_any_text()) {
      say("--unknown means nothing for " + path + ", whose tokenizer can express any text");
      text.unknown.clear();
    }
    return open_checkpoint_text("eval", path, checkpoint.tokenizer, std::move(text));
  }

  Checkpoint load(const std::string& path) const {
    if (placement_.precision != "stored") return load_checkpoint(path, placement_.model_placement());
    const std::filesystem::path folder = find_generation(path);
    const SafetensorsFile file = SafetensorsFile::open(folder / "model.safetensors");
    const bool f64 = !file.names().empty() && file.entry(file.names().front()).dtype == DType::f64;
    return load_checkpoint(folder, {f64 ? DType::f64 : DType::f32, placement_.where()});
  }

  ModelOptions text_;
  PlacementOptions placement_{.precision = "stored"};
  std::vector<std::string> checkpoints_;
  TaskEvaluationOptions of_task_;
  std::string split_ = "valid";
  std::int64_t batch_ = kEvalBatch, threads_ = 0;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::eval() { return std::make_unique<Eval>(); }

}  // namespace mixgrad::app
