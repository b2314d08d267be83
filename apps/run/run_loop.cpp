#include "apps/run/run_loop.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>

#include "apps/generation/prompt.h"
#include "apps/generation/sample.h"
#include "apps/options/verb.h"
#include "apps/output/clock.h"
#include "apps/output/standard_output.h"
#include "apps/process/signals.h"
#include "apps/run/run_ranks.h"
#include "core/allocator.h"
#include "core/build.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/system/interrupt.h"
#include "core/text/plural.h"
#include "nn/distributed/agreement.h"
#include "nn/training/diagnosis/explain.h"
#include "nn/training/diagnosis/step_trace.h"
#include "ops/matmul/matmul_cuda.h"

namespace mixgrad::app {

namespace {

// For sums in rank order within one process.
const std::unique_ptr<Communicator>& single_process() {
  static const std::unique_ptr<Communicator> alone = make_single_process();
  return alone;
}

// The first of the explanations that names an operator or a parameter.
std::string first_explanation(const std::vector<std::string>& of_ranks) {
  for (std::size_t rank = 0; rank < of_ranks.size(); ++rank) {
    if (!of_ranks[rank].starts_with(kNoOperator)) return of_ranks[rank] + " (rank " + std::to_string(rank) + ")";
  }
  return of_ranks[0];
}

}  // namespace

Prompt SampleOptions::start(const Tokenizer& tokenizer) const {
  if (prompt.empty()) return default_prompt(tokenizer);
  return {prompt, encode_typed(tokenizer, prompt, "--sample-prompt")};
}

RunSchedule RunOptions::schedule(std::int64_t steps) const {
  return {.steps = steps,
          .last = stop_after > 0 ? std::min(stop_after, steps) : steps,
          .log_every = log_every,
          .eval_every = eval_every,
          .save_every = save_every};
}

RunLoop::RunLoop(Decoder& model, const RunData& data, Optimizer& optimizer, const TrainingOptions& training,
                 const RunOptions& options, TrainerState state)
    : model_(model),
      data_(data),
      optimizer_(optimizer),
      training_(training),
      options_(options),
      state_(std::move(state)),
      schedule_(options.schedule(training.steps)),
      rng_(state_.rng_seed, state_.rng_counter),
      records_product_choices_(model.device().is_cuda() && state_.step == 0),
      report_(options.ranks == nullptr || options.ranks->leads() ? options.out / "metrics.jsonl" : "/dev/null",
              options.out, state_.step, schedule_.last, training.batch * training.accumulate * model.config().context,
              options.json, options.objective == nullptr ? "" : options.objective->name()),
      cores_(model.device().is_cpu() ? threads() : 1) {
  install_product_choices();
  Trainer::Options how = training.trainer_options();
  how.objective = options.objective;
  how.reduce = training.reduce_options();
  how.ranks = options.ranks;
  const std::unique_ptr<Communicator>& alone = single_process();
  if (how.ranks == nullptr && how.reduce.order == ReduceOrder::rank) how.ranks = alone.get();
  if (records_product_choices_) how.products = Trainer::ProductAlgorithms::timed;
  if (!options.trace.empty() && leads()) trace_step(how.products);
  if (training.shard == "optimizer" && options.ranks != nullptr) optimizer.shard(*options.ranks);
  trainer_ = make_trainer(model, optimizer, data.batches(), how);
  trainer_->start(state_.step, rng_);
}

int RunLoop::run() {
  if (state_.step > 0) saved_step_ = state_.step;  // resumed from it
  report_.start_clock();
  try {
    // A resumed run first writes the line of its step again, which an end without warning may have lost.
    After after = state_.evaluation_due ? evaluate_and_log() : After::next_step;
    if (state_.step > 0 && !evaluated_ && schedule_.logs_at(state_.step)) log();
    while (after == After::next_step && state_.step < schedule_.last) {
      if (const int signal = stop_requested(); signal != 0) return stop_interrupted(signal);
      if (run_to_next_stop() == Steps::not_finite) return stop_not_finite();
      const bool evaluates = schedule_.evaluates_at(state_.step);
      state_.evaluation_due = evaluates && validates() && schedule_.evaluation_counts_at(state_.step);
      if (schedule_.saves_at(state_.step)) save();
      if (evaluates) {
        after = evaluate_and_log();
      } else if (schedule_.logs_at(state_.step)) {
        log();
      }
    }
    return finish(after);
  } catch (const Interrupted& cut) {
    return stop_interrupted(cut.signal);
  } catch (const OutputLost& lost) {
    report_.end_line();
    const bool divided = optimizer_.sharded();  // then a checkpoint takes all ranks
    if (saved_step_ != state_.step && !divided) write();
    const std::string out = options_.out.string();
    if (complete())
      raise<IoError>(lost.what(), "; the run is complete and saved in ", out, ", its sample was cut short");
    if (divided && saved_step_ != state_.step) {
      raise<IoError>(lost.what(), "; stopped after step ", state_.step, ", which is not saved, since with --shard ",
                     "optimizer one rank has a part of the state alone; resume the last checkpoint with mixgrad train ",
                     "--resume ", out);
    }
    raise<IoError>(lost.what(), "; stopped after step ", state_.step, "; saved in ", out,
                   "; resume it with mixgrad train --resume ", out);
  }
}

// After a number that is not finite, state_.step is the last step that was done.
RunLoop::Steps RunLoop::run_to_next_stop() {
  const std::int64_t stop = schedule_.next_stop(state_.step);
  for (std::int64_t step = state_.step; step < stop; ++step) {
    if (agreed_interrupt(options_.ranks, interrupt_requested()) != 0) break;
    trainer_->queue();
    report_.note(cores_.after_step());
  }
  const Trainer::Result result = trainer_->wait();
  rng_ = Rng(rng_.seed(), result.rng_counter);
  const std::int64_t before = state_.step;
  state_.step = result.step;
  if (state_.step == before && !result.halted) return Steps::done;  // a signal came before the first of them
  state_.last = {result.loss, result.learning_rate, result.gradient_norm, 0};
  if (result.halted) {
    if (state_.skipped >= options_.skip_nonfinite) return Steps::not_finite;
    ++state_.skipped;
    ++state_.step;
    report_.skipped(state_, state_.step, options_.skip_nonfinite);
    skip_batch();
    trainer_->start(state_.step, rng_);
  }
  state_.last->tokens_per_s = report_.tokens_per_s(state_.step - before);
  return Steps::done;
}

// Advances rng_ by what the step that is left out would have drawn.
void RunLoop::skip_batch() {
  const Tensor tokens = Tensor::empty({training_.batch, model_.config().context}, DType::i32);
  const Tensor targets = Tensor::empty({training_.batch, model_.config().context}, DType::i32);
  for (std::int64_t part = 0; part < training_.accumulate; ++part) data_.batches().sample_batch(rng_, tokens, targets);
}

// A resumed run uses the algorithms of matrix products that its checkpoint holds; it never times them again.
void RunLoop::install_product_choices() {
  if constexpr (build::has_cuda) {
    if (!model_.device().is_cuda() || state_.matmul.algorithms.empty()) return;
    const std::string here = cuda::matmul_library(model_.device());
    if (state_.matmul.library == here) return set_matmul_choices(state_.matmul);
    std::fprintf(
        stderr,
        "mixgrad: this run's algorithms of matrix products were chosen for %s; here is %s, whose own choice is "
        "taken\n",
        state_.matmul.library.c_str(), here.c_str());
  }
}

// Of a step like the next one, before the trainer takes its memory.
void RunLoop::trace_step(Trainer::ProductAlgorithms products) {
  const std::size_t shown = write_step_trace(options_.trace, model_, optimizer_, data_.batches(), rng_,
                                             {.batch = own_rows().end(training_.batch),
                                              .accumulate = training_.accumulate,
                                              .dropout = {training_.dropout_mask(), state_.step},
                                              .intermediates = training_.intermediates(),
                                              .objective = options_.objective,
                                              .products = products});
  std::fprintf(stderr, "mixgrad: %s holds a trace of a step: %s; open it in chrome://tracing or ui.perfetto.dev\n",
               options_.trace.c_str(), count_text(static_cast<std::int64_t>(shown), "operator").c_str());
}

// In a job rank 0 does not stop by itself when nobody reads stdout any more, since the others would wait for it:
// stop_requested() finds the same, and all stop.
void RunLoop::log(const std::optional<RunData::Validation>& validation) {
  try {
    report_.log(state_.step, *state_.last, validation);
  } catch (const Interrupted&) {
    if (options_.ranks == nullptr) throw;
  }
}

// The signal that stops the run, SIGPIPE for a stdout without a reader, or 0; the same on every rank.
int RunLoop::stop_requested() const {
  int own = interrupt_requested();
  if (own == 0 && leads() && !stdout_has_reader()) own = SIGPIPE;
  return agreed_interrupt(options_.ranks, own);
}

StepRanks RunLoop::own_rows() const {
  if (options_.ranks == nullptr) return {};
  return {.rank = options_.ranks->rank(), .size = options_.ranks->size()};
}

void RunLoop::save() {
  if (options_.ranks != nullptr) {
    require_same(*options_.ranks,
                 {{"step", std::to_string(state_.step)}, {"the weights, as XXH3,", weights_hash(model_)}});
  }
  optimizer_.collect_state();
  if (leads()) {
    write();
  } else {
    saved_step_ = state_.step;
  }
  optimizer_.drop_collected_state();
  if (options_.ranks != nullptr) options_.ranks->meet("the checkpoint of step " + std::to_string(state_.step));
}

void RunLoop::write() {
  const double start = now();
  state_.rng_counter = rng_.counter();
  if (saved_step_ && *saved_step_ < state_.step) state_.parent = saved_step_;
  state_.optimizer_steps = optimizer_.steps();
  if (records_product_choices_) state_.matmul = matmul_choices();
  save_checkpoint(options_.out, model_, data_.tokenizer(), optimizer_, state_);
  saved_step_ = state_.step;
  report_.pause(now() - start);
}

void RunLoop::record_evaluation(double val_loss) {
  const bool gain = !state_.best || val_loss < state_.best->val_loss - options_.early_stop.min_delta;
  state_.evaluations_since_best = gain ? 0 : state_.evaluations_since_best + 1;
  if (!state_.best || val_loss < state_.best->val_loss) {
    state_.best = {state_.step, val_loss};
    if (leads()) point_best(options_.out, state_.step);  // saved before the evaluation
  }
  state_.evaluation_due = false;
}

RunLoop::After RunLoop::evaluate_and_log() {
  evaluated_ = true;
  if (!validates()) {  // --valid none
    log();
    return After::next_step;
  }
  validation_ = data_.validate(model_, options_.ranks);
  log(validation_);
  if (!std::isfinite(validation_->loss)) {
    report_.validation_not_finite(state_, validation_->loss);
    return After::failed;
  }
  if (!schedule_.evaluation_counts_at(state_.step)) return After::next_step;
  record_evaluation(validation_->loss);
  const std::int64_t patience = options_.early_stop.patience;
  const bool stops = patience > 0 && state_.step != training_.steps && state_.evaluations_since_best >= patience;
  return stops ? After::stop_early : After::next_step;
}

int RunLoop::finish(After after) {
  if (after == After::failed) return kCheckFailed;
  if (after == After::stop_early) report_.stopped_early(state_);
  if (!evaluated_) {
    report_.nothing_to_do(state_);
    return kOk;
  }
  report_.finished(state_, validation_, pool_stats(model_.device()).peak);
  if (!options_.json && options_.sample.tokens > 0 && leads()) {
    std::fprintf(stderr, "a sample:\n\n");
    sampling_ = true;
    stream_sample(model_, data_.tokenizer(), options_.sample.start(data_.tokenizer()), options_.sample.tokens,
                  {.temperature = options_.sample.temperature}, training_.seed);
  }
  return kOk;
}

int RunLoop::stop_interrupted(int signal) {
  report_.end_line();
  if (saved_step_ != state_.step) save();
  report_.interrupted(state_, signal_name(signal), complete());
  return 128 + signal;
}

int RunLoop::stop_not_finite() {
  report_.end_line();
  trainer_.reset();  // its memory is needed
  std::string explanation =
      explain_not_finite(model_, optimizer_, data_.batches(), rng_, training_.batch, training_.accumulate,
                         {training_.dropout_mask(), state_.step}, options_.objective, own_rows());
  if (options_.ranks != nullptr) explanation = first_explanation(options_.ranks->gather(explanation));
  report_.not_finite(state_, explanation);
  return kCheckFailed;
}

}  // namespace mixgrad::app
