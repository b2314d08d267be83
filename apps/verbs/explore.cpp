// mixgrad explore: one HTML file of one model on one text.
#include <cstdio>

#include "apps/data/analysis_data.h"
#include "apps/generation/prompt.h"
#include "apps/options/placement_options.h"
#include "apps/output/error_line.h"
#include "apps/output/json_line.h"
#include "apps/output/version.h"
#include "apps/report/explore_page.h"
#include "apps/report/tape_page.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/text/plural.h"
#include "nn/files/file.h"
#include "nn/training/checkpoint.h"

namespace mixgrad::app {
namespace {

constexpr std::int64_t kMostTokens = 1024;

class Explore : public Verb {
 public:
  std::string summary() const override {
    return "One HTML file that shows where a model looks in a text, token by token";
  }
  std::string example() const override {
    return "mixgrad explore --checkpoint runs/char --text ROMEO: --out explore.html";
  }

  void declare(OptionSet& options) override {
    options.add("checkpoint", checkpoint_, "A run, or one generation of it", {.value = "DIR", .not_empty = true});
    options.add("text", text_, "The text; - for stdin", {.not_empty = true});
    options.add("text-file", text_file_, "File with the text",
                {.value = "FILE",
                 .not_empty = true,
                 .useless = useless_when([this] { return !text_.empty(); }, "--text gives the text")});
    text_source_.declare_task(
        options, OnResume::not_stored,
        useless_when([this] { return !text_.empty() || !text_file_.empty(); }, "--text or --text-file gives the text"));
    options.add("out", out_, "The page; a file that is there is replaced",
                {.value = "FILE",
                 .not_empty = true,
                 .useless = useless_when([this] { return json_; }, "--json prints the numbers and writes no page")});
    options.add("title", title_, "Title of the page",
                {.not_empty = true,
                 .useless = useless_when([this] { return json_; }, "--json prints the numbers and writes no page")});
    options.add("recency", recency_, {0, kMostTokens}, "k of the recency ratio: tokens before a token",
                {.useless = useless_when([this] { return tape_; }, "--tape shows a training step")});
    options.add_flag("tape", tape_, "One training step on the text instead, operator by operator, with gradients");
    options.add_flag("check", check_, "With --tape: also the gradient check of that step, in f64",
                     {.useless = useless_when([this] { return !tape_; }, "--tape is not given")});
    options.add_flag("json", json_, "The numbers of the page as one JSON object on stdout, and no page");
    declare_threads(options, threads_);
    placement_.declare(options, {"f32", "f64", "bf16"}, "Type of the parameters and of the arithmetic");
  }

  int run() override {
    if (checkpoint_.empty()) raise<ValueError>("explore: --checkpoint DIR is required: the folder of a training run");
    if (text_.empty() && text_file_.empty() && text_source_.task.empty()) {
      raise<ValueError>("explore: --text TEXT, --text-file FILE or --task TASK is required: what the model reads");
    }
    if (out_.empty() && !json_) raise<ValueError>("explore: --out FILE is required: the page to write");
    placement_.check_device();
    const ContextScope scope(placement_.context(threads_));
    const Checkpoint trained = load_checkpoint(checkpoint_, placement_.model_placement());
    const std::int64_t last = tape_ ? 1 : 0;  // in a training step the last token is a target alone
    const std::int64_t most = std::min(kMostTokens, trained.model->config().context + last);
    std::vector<std::int64_t> answers;
    std::vector<std::int32_t> tokens =
        text_source_.task.empty() ? read(*trained.tokenizer) : read_task(trained, most, answers);
    if (static_cast<std::int64_t>(tokens.size()) > most) {
      say("the first " + count_text(most, "token") + " of " + std::to_string(tokens.size()) + " are shown, " +
          (most == kMostTokens ? "as many as a page takes" : "the model's context"));
      tokens.resize(static_cast<std::size_t>(most));
      std::erase_if(answers, [&](std::int64_t answer) { return answer >= most; });
    }
    if (tokens.size() < 2) raise<ValueError>("explore: the text must have at least 2 tokens; it has ", tokens.size());
    if (tape_) return show_step(trained, tokens);
    const Exploration found = explore(*trained.model, tokens, recency_);
    nlohmann::ordered_json numbers =
        exploration_json(found, *trained.tokenizer, json_ ? WeightForm::numbers : WeightForm::maps);
    numbers["task"] = text_source_.task;
    numbers["answers"] = answers;
    if (json_) {
      print_json(numbers);
      return kOk;
    }
    const std::string page = explore_page(numbers, title_, made(*trained.model));
    write_file_atomic(out_, page);
    std::printf("%s: %s, %zu bytes\n", out_.c_str(),
                count_text(static_cast<std::int64_t>(tokens.size()), "token").c_str(), page.size());
    return kOk;
  }

 private:
  // The first sequence that evaluations of the task take; `answers`: the tokens that answer its questions. An answer
  // behind the last token is taken along where that makes at most `most` tokens.
  std::vector<std::int32_t> read_task(const Checkpoint& trained, std::int64_t most,
                                      std::vector<std::int64_t>& answers) const {
    const AnalysisData data = open_analysis_data("explore", checkpoint_, trained.tokenizer, text_source_);
    const SampledSequences sample = data.sample("valid", trained.model->config().context, 1);
    const Tensor& from = sample.batches.front().tokens;
    const Tensor& targets = sample.batches.front().targets;
    std::vector<std::int32_t> tokens;
    for (std::int64_t i = 0; i < from.numel(); ++i) {
      tokens.push_back(from.data<std::int32_t>()[i]);
      if (targets.data<std::int32_t>()[i] >= 0) answers.push_back(i + 1);
    }
    if (!answers.empty() && answers.back() == from.numel()) {
      if (from.numel() < most) {
        tokens.push_back(targets.data<std::int32_t>()[from.numel() - 1]);
      } else {
        answers.pop_back();
      }
    }
    return tokens;
  }

  std::vector<std::int32_t> read(const Tokenizer& tokenizer) const {
    if (text_ == "-") return encode_typed(tokenizer, read_typed_file(text_, "--text"), "--text -");
    if (!text_.empty()) return encode_typed(tokenizer, text_, "--text");
    return encode_typed(tokenizer, read_typed_file(text_file_, "--text-file"), "--text-file " + text_file_);
  }

  int show_step(const Checkpoint& trained, const std::vector<std::int32_t>& tokens) const {
    const StepWalk walk = step_walk(*trained.model, tokens);
    std::optional<GradcheckReport> check;
    if (check_) {
      const Checkpoint exact = load_checkpoint(checkpoint_, {DType::f64, kCpu});
      check = check_step(*exact.model, tokens);
    }
    const nlohmann::ordered_json numbers = step_json(walk, tokens, *trained.tokenizer, check);
    if (json_) {
      print_json(numbers);
    } else {
      const std::string page = tape_page(numbers, title_, made(*trained.model));
      write_file_atomic(out_, page);
      std::printf("%s: %s, %zu bytes\n", out_.c_str(),
                  count_text(static_cast<std::int64_t>(walk.entries.size()), "operator").c_str(), page.size());
    }
    if (!check || check->pass) return kOk;
    say("the gradient check failed: " + check->failures());
    return kCheckFailed;
  }

  std::string made(const Decoder& model) const {
    return "Made by " + version_text() + " from " + checkpoint_ + ": " + description(model);
  }

  static std::string description(const Decoder& model) {
    std::string text = count_text(static_cast<std::int64_t>(model.config().layers.size()), "layer") + ", " +
                       std::to_string(model.config().d_model) + " wide, " + std::to_string(model.parameters().count()) +
                       " parameters";
    return text;
  }

  std::string checkpoint_, text_, text_file_, out_, title_ = "Where a model looks";
  std::int64_t recency_ = 8, threads_ = 0;
  ModelOptions text_source_;  // its task alone
  PlacementOptions placement_;
  bool json_ = false, tape_ = false, check_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::explore() { return std::make_unique<Explore>(); }

}  // namespace mixgrad::app
