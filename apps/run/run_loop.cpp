#include "apps/run/run_loop.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "apps/options/verb.h"
#include "apps/output/clock.h"
#include "apps/run/sample.h"
#include "apps/run/signals.h"
#include "core/build.h"
#include "core/system/interrupt.h"
#include "core/text/bytes.h"
#include "nn/training/evaluation.h"
#include "nn/training/finite.h"
#include "ops/matmul/matmul_cuda.h"

namespace mixgrad::app {
namespace {

constexpr std::int64_t kSampleTokens = 400;

// A line end where the vocabulary has one, else its first token.
std::int32_t first_token(const TokenData& data) { return data.tokenizer().id_of("\n").value_or(0); }

}  // namespace

RunLoop::RunLoop(Decoder& model, const TokenData& data, AdamW& optimizer, const TrainingOptions& training,
                 const RunOptions& options, TrainerState state)
    : model_(model),
      data_(data),
      optimizer_(optimizer),
      training_(training),
      options_(options),
      state_(std::move(state)),
      schedule_(training.schedule_values()),
      last_(options.stop_after > 0 ? std::min(options.stop_after, training.steps) : training.steps),
      tokens_(Tensor::empty({training.batch, model.config().context}, DType::i32)),
      targets_(Tensor::empty({training.batch, model.config().context}, DType::i32)),
      rng_(state_.rng_seed, state_.rng_counter),
      step_start_(rng_),
      chooses_products_(model.device().is_cuda() && state_.step == 0),
      progress_(last_, state_.step, options.out / "metrics.jsonl", options.json),
      val_loss_(std::nan("")) {
  if constexpr (build::has_cuda) {
    if (model.device().is_cuda() && !model.context().check_devices) {
      take_matmul_choices();
      trainer_ = cuda::make_graph_trainer(model, optimizer, data,
                                          {.batch = training.batch,
                                           .accumulate = training.accumulate,
                                           .schedule = schedule_,
                                           .resident = cuda::fits(data, model.device()),
                                           .capture = true,
                                           .time_products = chooses_products_});
      trainer_->start(state_.step, rng_);
    }
  }
  if (!trainer_) step_.emplace(model, optimizer);
}

int RunLoop::run() {
  if (state_.step > 0) saved_step_ = state_.step;  // resumed from it
  window_start_ = now();
  try {
    // A resumed run first writes the line of its step again, which an end without warning may have cost.
    After after = state_.evaluation_due ? evaluate_and_log() : After::go_on;
    if (state_.step > 0 && !std::isfinite(val_loss_) && due(options_.log_every)) log({});
    while (after == After::go_on && state_.step < last_) {
      if (interrupt_requested() != 0) return interrupted(interrupt_requested());
      if (!(trainer_ ? steps_queued() : step())) return stop_not_finite();
      const bool evaluates = at_end() || due(options_.eval_every);
      state_.evaluation_due = evaluates && evaluation_scheduled();
      // Before evaluating: an evaluation that fails or is cut off loses nothing.
      if (evaluates || due(options_.save_every)) save();
      if (evaluates) {
        after = evaluate_and_log();
      } else if (due(options_.log_every)) {
        log({});
      }
    }
    if (after == After::failed) return kCheckFailed;
    return finish(after == After::stop_early);
  } catch (const Interrupted& cut) {
    return interrupted(cut.signal);
  }
}

double RunLoop::accumulate() {
  const auto parts = static_cast<double>(training_.accumulate);
  double loss = 0;
  for (std::int64_t part = 0; part < training_.accumulate; ++part) {
    data_.sample_batch(rng_, tokens_, targets_);
    loss += step_->accumulate(tokens_, targets_, training_.accumulate) / parts;
  }
  return loss;
}

bool RunLoop::step() {
  step_start_ = rng_;
  TrainerState::Last now_done;
  now_done.lr = schedule_.at(state_.step);
  now_done.loss = accumulate();
  // A loss that is not finite must not reach the weights, whatever its gradients are.
  now_done.grad_norm = std::isfinite(now_done.loss) ? step_->apply(now_done.lr) : step_->discard();
  return take_step(now_done, 1);
}

// `count` steps are done, the last of them `done`. Its figures may not be finite: then nothing has changed by it.
bool RunLoop::take_step(const TrainerState::Last& done, std::int64_t count) {
  state_.last = done;
  const std::int64_t last = state_.step + count;
  if (!std::isfinite(done.loss) || !std::isfinite(done.grad_norm)) {
    if (state_.skipped >= options_.skip_nonfinite) {
      state_.step = last - 1;
      return false;
    }
    ++state_.skipped;
    progress_.finish();
    std::fprintf(stderr, "mixgrad: step %lld skipped (%lld of %lld): loss %g, gradient norm %g; no weight changed\n",
                 static_cast<long long>(last), static_cast<long long>(state_.skipped),
                 static_cast<long long>(options_.skip_nonfinite), done.loss, done.grad_norm);
  }
  state_.step = last;
  window_steps_ += count;
  const double step_tokens = static_cast<double>(tokens_.numel() * training_.accumulate);
  state_.last->tokens_per_s = static_cast<double>(window_steps_) * step_tokens / (now() - window_start_);
  return true;
}

// The first step after this one at which the host has something to do.
std::int64_t RunLoop::next_stop() const {
  std::int64_t stop = last_;
  for (const std::int64_t every : {options_.log_every, options_.eval_every, options_.save_every}) {
    if (every > 0) stop = std::min(stop, (state_.step / every + 1) * every);
  }
  return stop;
}

bool RunLoop::steps_queued() {
  const std::int64_t stop = next_stop();
  for (std::int64_t step = state_.step; step < stop && interrupt_requested() == 0; ++step) trainer_->queue();
  const GraphTrainer::Result result = trainer_->wait();
  rng_ = Rng(rng_.seed(), result.rng_counter);
  const std::int64_t done = result.step - state_.step;
  if (done == 0 && !result.halted) return true;  // a signal came first
  if (!result.halted) {
    return take_step({result.loss, schedule_.at(result.step - 1), result.gradient_norm, 0}, done);
  }
  // The step after those done: its batch is drawn once more by the host, to be looked at or left out.
  step_start_ = rng_;
  if (!take_step({result.loss, schedule_.at(result.step), result.gradient_norm, 0}, done + 1)) return false;
  for (std::int64_t part = 0; part < training_.accumulate; ++part) data_.sample_batch(rng_, tokens_, targets_);
  trainer_->start(state_.step, rng_);
  return true;
}

// A run that goes on computes its products as it did; it never chooses anew.
void RunLoop::take_matmul_choices() {
  if constexpr (build::has_cuda) {
    if (state_.matmul.algorithms.empty()) return;
    const std::string here = cuda::matmul_library(model_.device());
    if (state_.matmul.library == here) return set_matmul_choices(state_.matmul);
    std::fprintf(
        stderr,
        "mixgrad: this run's algorithms of matrix products were chosen for %s; here is %s, whose own choice is "
        "taken\n",
        state_.matmul.library.c_str(), here.c_str());
  }
}

void RunLoop::save() {
  const double start = now();
  state_.rng_counter = rng_.counter();
  state_.optimizer_steps = optimizer_.steps();
  if (chooses_products_) state_.matmul = matmul_choices();
  save_checkpoint(options_.out, model_, data_.tokenizer(), optimizer_, state_);
  saved_step_ = state_.step;
  window_start_ += now() - start;  // the speed is that of the steps alone
}

void RunLoop::log(std::optional<double> val_loss) {
  const TrainerState::Last& last = *state_.last;
  progress_.log({state_.step, last.loss, val_loss, last.lr, last.grad_norm, last.tokens_per_s});
  window_start_ = now();
  window_steps_ = 0;
}

// A scheduled evaluation counts for the best and for --early-stop; one that only --stop-after brought does not, or the
// run would not go on as if it had never stopped.
void RunLoop::take(double val_loss) {
  const bool gain = !state_.best || val_loss < state_.best->val_loss - options_.early_stop.min_delta;
  state_.evaluations_since_best = gain ? 0 : state_.evaluations_since_best + 1;
  if (!state_.best || val_loss < state_.best->val_loss) state_.best = {state_.step, val_loss};
}

RunLoop::After RunLoop::evaluate_and_log() {
  val_loss_ = evaluate(model_, data_, data_.valid()).loss;
  log(val_loss_);
  if (!std::isfinite(val_loss_)) {
    progress_.finish();
    std::fprintf(stderr,
                 "mixgrad: step %lld: the validation loss must be finite, got %g; try a lower --lr, a longer --warmup "
                 "or a smaller --clip, from an earlier checkpoint\n",
                 static_cast<long long>(state_.step), val_loss_);
    return After::failed;
  }
  if (!evaluation_scheduled()) return After::go_on;
  take(val_loss_);
  state_.evaluation_due = false;
  const bool patient = options_.early_stop.patience == 0 || state_.step == training_.steps ||
                       state_.evaluations_since_best < options_.early_stop.patience;
  return patient ? After::go_on : After::stop_early;
}

int RunLoop::finish(bool early) {
  progress_.finish();
  const std::string out = options_.out.string();
  if (early) {
    std::fprintf(stderr, "stopped early at step %lld: %lld evaluations without a gain\n",
                 static_cast<long long>(state_.step), static_cast<long long>(state_.evaluations_since_best));
  } else if (std::isnan(val_loss_)) {
    std::fprintf(stderr, "nothing to do: %s has %lld of %lld steps\n", out.c_str(), static_cast<long long>(state_.step),
                 static_cast<long long>(last_));
    return kOk;
  }
  std::fprintf(stderr, "validation loss %.4f; saved in %s", val_loss_, out.c_str());
  if (state_.best && state_.best->step != state_.step) {
    std::fprintf(stderr, " (best %.4f in step-%lld)", state_.best->val_loss, static_cast<long long>(state_.best->step));
  }
  std::fprintf(stderr, "; tensors took at most %s\n", bytes_text(pool_stats(model_.device()).peak).c_str());
  if (!options_.json) {
    std::fprintf(stderr, "a sample:\n\n");
    stream_sample(model_, data_.tokenizer(), data_.tokenizer().piece(first_token(data_)), kSampleTokens, {0.8, 0, 1.0},
                  training_.seed);
  }
  return kOk;
}

int RunLoop::interrupted(int signal) {
  progress_.finish();
  if (saved_step_ != state_.step) save();
  std::fprintf(stderr, "mixgrad: stopped by %s after step %lld; saved in %s; mixgrad train --resume %s goes on\n",
               signal_name(signal), static_cast<long long>(state_.step), options_.out.c_str(), options_.out.c_str());
  return 128 + signal;
}

// Runs the step that began at `start` again under a watch. It is the same to the bit, so the same number appears.
std::string RunLoop::explain(Rng start) {
  std::string first = first_parameter_not_finite(model_.parameters());
  if (!first.empty()) return first;
  FiniteWatch watch(model_.parameters());
  rng_ = start;
  if (!step_) step_.emplace(model_, optimizer_);
  accumulate();
  step_->discard();
  return watch.first().empty() ? "no operator's; the sum of the squares is too large for its type" : watch.first();
}

int RunLoop::stop_not_finite() {
  progress_.finish();
  const std::string first = explain(step_start_);
  std::fprintf(
      stderr,
      "mixgrad: step %lld: the loss and the gradient norm must be finite, got %g and %g; first not finite: %s; "
      "no weight was changed by this step; checkpoints in %s stand; try a lower --lr, a longer --warmup or a "
      "smaller --clip, or --skip-nonfinite N\n",
      static_cast<long long>(state_.step + 1), state_.last->loss, state_.last->grad_norm, first.c_str(),
      options_.out.c_str());
  return kCheckFailed;
}

}  // namespace mixgrad::app
