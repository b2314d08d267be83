// mixgrad train: data, model, steps, checkpoints, and a sample at the end.
#include <chrono>
#include <cmath>
#include <cstdio>

#include "apps/model_options.h"
#include "apps/progress.h"
#include "apps/sample.h"
#include "apps/training_options.h"
#include "apps/verb.h"
#include "core/error.h"
#include "core/parallel.h"
#include "nn/checkpoint.h"
#include "nn/evaluation.h"
#include "nn/file.h"
#include "nn/training.h"

namespace mixgrad::app {
namespace {

constexpr std::int64_t kSampleTokens = 400;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

class Train : public Verb {
 public:
  std::string name() const override { return "train"; }
  std::string summary() const override { return "Train a model on a text file"; }
  std::string example() const override { return "mixgrad train --preset char --out runs/char"; }

  void declare(OptionSet& options) override {
    options.add_presets(model_presets());
    model_.declare(options);
    options.add("out", out_, "Folder of the run: checkpoints and metrics.jsonl; must not hold a run already");
    options.add("checkpoint", checkpoint_, "Start from the weights of this run or generation");
    training_.declare(options);
    options.add("stop-after", stop_after_, kCountOrNone, "Stop after this many steps of the schedule; 0 = all");
    options.add("eval-every", eval_every_, kCountOrNone,
                "Steps between evaluations on the held-out part; 0 = only at the end");
    options.add("save-every", save_every_, kCountOrNone, "Steps between checkpoints; 0 = only at the end");
    options.add("log-every", log_every_, kCount, "Steps between logged steps");
    options.add_flag("json", json_, "One JSON line per logged step on stdout, and no sample");
  }

  std::string without_effect(const std::string& option) const override {
    return checkpoint_.empty() ? std::string() : ModelOptions::decided_by_checkpoint(option);
  }

  int run() override {
    check();
    training_.apply_threads();
    Checkpoint start = initial();
    Decoder& model = *start.model;
    const TokenData data = model_.open_data(start.tokenizer);
    data.check_context(model.config().context);
    const EvalWindows windows(data, data.valid(), model.config().context);  // refuses a text too short to hold out
    describe(model, data);
    make_folder(out_);
    return train(model, data);
  }

 private:
  void check() const {
    training_.check();
    if (out_.empty()) raise<ValueError>("train: --out DIR is required: the folder for checkpoints and metrics");
    if (holds_run(out_)) {
      raise<ValueError>("--out ", out_, ": holds a run already; choose another folder (nothing was changed)");
    }
    std::error_code error;
    if (std::filesystem::file_size(metrics_path(), error) > 0 && !error) {
      raise<ValueError>("--out ", out_,
                        ": holds metrics.jsonl of a run that saved nothing yet; choose another folder or ",
                        "remove that file (nothing was changed)");
    }
  }

  // A new model for the data's vocabulary, or the one of --checkpoint.
  Checkpoint initial() const {
    if (checkpoint_.empty()) {
      const TokenData data = model_.open_data();
      const ModelConfig config = model_.config(data.tokenizer().vocab_size());
      data.check_context(config.context);  // before the model takes memory for it
      auto model = std::make_unique<Decoder>(config, training_.dtype(), model_.hsm_scale);
      model->parameters().initialize(training_.seed);
      return {std::move(model), data.tokenizer(), {}};
    }
    return load_checkpoint(checkpoint_, training_.dtype());
  }

  std::filesystem::path metrics_path() const { return std::filesystem::path(out_) / "metrics.jsonl"; }

  void describe(const Decoder& model, const TokenData& data) const {
    std::fprintf(stderr, "%s: %lld tokens, %lld kinds, the last %lld held out\n", data.source().c_str(),
                 static_cast<long long>(data.size()), static_cast<long long>(data.tokenizer().vocab_size()),
                 static_cast<long long>(data.valid().size()));
    std::fprintf(stderr, "model: %lld parameters, %zu layers, %s, %d threads\n",
                 static_cast<long long>(model.parameters().count()), model.config().layers.size(),
                 training_.precision.c_str(), threads());
  }

  int train(Decoder& model, const TokenData& data) {
    AdamW optimizer(model.parameters(), training_.adamw());
    TrainStep step(model, optimizer);
    const Schedule schedule = training_.schedule_values();
    const std::int64_t last = stop_after_ > 0 ? std::min(stop_after_, training_.steps) : training_.steps;
    const Shape shape{training_.batch, model.config().context};
    const Tensor tokens = Tensor::empty(shape, DType::i32);
    const Tensor targets = Tensor::empty(shape, DType::i32);
    Rng rng(training_.seed, std::uint64_t{1} << 63U);  // counters that no parameter's draw uses
    Progress progress(last, metrics_path(), json_);
    const auto step_tokens = static_cast<double>(shape.numel() * training_.accumulate);
    double window_start = now();
    std::int64_t window_steps = 0;
    double final_loss = NAN;
    for (std::int64_t t = 0; t < last; ++t) {
      double loss = 0;
      for (std::int64_t part = 0; part < training_.accumulate; ++part) {
        data.sample_batch(rng, tokens, targets);
        loss += step.accumulate(tokens, targets, training_.accumulate) / static_cast<double>(training_.accumulate);
      }
      const double lr = schedule.at(t);
      const double norm = step.apply(lr);
      if (!std::isfinite(loss) || !std::isfinite(norm)) return stop_not_finite(progress, t, loss, norm);
      ++window_steps;
      const std::int64_t done = t + 1;
      const bool at_end = done == last;
      const bool evaluates = at_end || (eval_every_ > 0 && done % eval_every_ == 0);
      // Saved before evaluating: an evaluation that fails loses nothing. The speed is that of the steps alone.
      if (at_end || (save_every_ > 0 && done % save_every_ == 0)) {
        const double start = now();
        save_checkpoint(out_, done, model, data.tokenizer());
        window_start += now() - start;
      }
      if (!evaluates && done % log_every_ != 0) continue;
      StepLog entry{done, loss, {}, lr, norm, static_cast<double>(window_steps) * step_tokens / (now() - window_start)};
      if (evaluates) entry.val_loss = final_loss = evaluate(model, data, data.valid()).loss;
      progress.log(entry);
      if (evaluates && !std::isfinite(final_loss)) return stop_without_loss(progress, done, final_loss);
      window_start = now();
      window_steps = 0;
    }
    progress.finish();
    std::fprintf(stderr, "validation loss %.4f; saved in %s\n", final_loss, out_.c_str());
    if (!json_) {
      std::fprintf(stderr, "a sample:\n\n");
      stream_sample(model, data.tokenizer(), data.tokenizer().decode(first_token(data)), kSampleTokens, {0.8, 0, 1.0},
                    training_.seed);
    }
    return kOk;
  }

  // A line end where the vocabulary has one, else its first token.
  static std::int32_t first_token(const TokenData& data) {
    const std::int32_t newline = data.tokenizer().byte_ids()['\n'];
    return newline >= 0 ? newline : 0;
  }

  int stop_not_finite(Progress& progress, std::int64_t step, double loss, double norm) const {
    progress.finish();
    std::fprintf(stderr,
                 "mixgrad: step %lld: the loss and the gradient norm must be finite, got %g and %g; no weight was "
                 "changed by this step; checkpoints in %s stand; try a lower --lr, a longer --warmup or a smaller "
                 "--clip\n",
                 static_cast<long long>(step + 1), loss, norm, out_.c_str());
    return kCheckFailed;
  }

  int stop_without_loss(Progress& progress, std::int64_t step, double loss) const {
    progress.finish();
    std::fprintf(
        stderr,
        "mixgrad: step %lld: the validation loss must be finite, got %g; try a lower --lr, a longer --warmup or "
        "a smaller --clip, from an earlier checkpoint\n",
        static_cast<long long>(step), loss);
    return kCheckFailed;
  }

  ModelOptions model_;
  TrainingOptions training_;
  std::string out_, checkpoint_;
  std::int64_t stop_after_ = 0, eval_every_ = 500, save_every_ = 500, log_every_ = 10;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_train() { return std::make_unique<Train>(); }

}  // namespace mixgrad::app
