#include "apps/run/run_report.h"

#include <cstdio>

#include "apps/output/clock.h"
#include "apps/output/error_line.h"
#include "core/numeric/unsigned_nan.h"
#include "core/text/bytes.h"
#include "core/text/plural.h"
#include "nn/files/generations.h"

namespace mixgrad::app {
namespace {

long long number(std::int64_t value) { return value; }  // as printf takes it

// "latest is step-60, best is step-40 (1.9012)"
std::string saved_generations(const std::filesystem::path& run, const TrainerState& state) {
  const std::string latest = generation_name(state.step);
  if (!state.best) return "latest is " + latest;
  const std::string best = generation_name(state.best->step);
  if (best == latest) return "latest and best are " + latest;
  char loss[32];
  std::snprintf(loss, sizeof loss, " (%.4f)", state.best->val_loss);
  std::error_code error;
  const bool here = std::filesystem::exists(run / best, error);
  return "latest is " + latest + ", best is " + best + loss + (here ? "" : " of the run that was resumed");
}

}  // namespace

RunReport::RunReport(const std::filesystem::path& metrics, const std::filesystem::path& out, std::int64_t first_step,
                     std::int64_t last_step, std::int64_t tokens_per_step, bool json, std::string objective)
    : out_(out),
      last_step_(last_step),
      tokens_per_step_(tokens_per_step),
      progress_(last_step, first_step, metrics, json),
      objective_(std::move(objective)) {}

void RunReport::start_clock() {
  window_start_ = now();
  window_steps_ = 0;
}

double RunReport::tokens_per_s(std::int64_t more_steps) {
  window_steps_ += more_steps;
  return static_cast<double>(window_steps_) * static_cast<double>(tokens_per_step_) / (now() - window_start_);
}

void RunReport::log(std::int64_t step, const TrainerState::Last& last,
                    const std::optional<RunData::Validation>& validation) {
  StepLog entry{.step = step,
                .loss = last.loss,
                .val_loss = {},
                .accuracy = {},
                .lr = last.lr,
                .grad_norm = last.grad_norm,
                .tokens_per_s = last.tokens_per_s,
                .objective = objective_};
  if (validation) {
    entry.val_loss = validation->loss;
    entry.accuracy = validation->accuracy;
  }
  progress_.log(entry);
  start_clock();
}

void RunReport::note(const std::string& sentence) {
  if (sentence.empty()) return;
  end_line();
  say(sentence);
}

void RunReport::skipped(const TrainerState& state, std::int64_t step, std::int64_t allowed) {
  end_line();
  std::fprintf(stderr, "mixgrad: step %lld skipped (%lld of %lld): loss %g, gradient norm %g; no weight changed\n",
               number(step), number(state.skipped), number(allowed), unsigned_nan(state.last->loss),
               unsigned_nan(state.last->grad_norm));
}

void RunReport::not_finite(const TrainerState& state, const std::string& explanation) {
  end_line();
  const std::string saved =
      holds_run(out_) ? "checkpoints in " + out_.string() + " are intact" : "nothing was saved before it";
  std::fprintf(
      stderr,
      "mixgrad: step %lld: the loss and the gradient norm must be finite, got %g and %g; first not finite: %s; "
      "no weight was changed by this step; %s; try a lower --lr, a longer --warmup or a smaller --clip, or "
      "--skip-nonfinite N\n",
      number(state.step + 1), unsigned_nan(state.last->loss), unsigned_nan(state.last->grad_norm), explanation.c_str(),
      saved.c_str());
}

void RunReport::validation_not_finite(const TrainerState& state, double val_loss) {
  end_line();
  std::fprintf(stderr,
               "mixgrad: step %lld: the validation loss must be finite, got %g; try a lower --lr, a longer --warmup "
               "or a smaller --clip%s\n",
               number(state.step), unsigned_nan(val_loss),
               generations(out_).size() > 1 ? ", with --checkpoint from an earlier generation" : "");
}

void RunReport::interrupted(const TrainerState& state, const char* signal, bool complete) {
  end_line();
  if (complete) {
    std::fprintf(stderr, "mixgrad: stopped by %s; the run is complete and saved in %s, its sample was cut short\n",
                 signal, out_.c_str());
    return;
  }
  std::fprintf(stderr,
               "mixgrad: stopped by %s after step %lld; saved in %s; resume it with mixgrad train --resume %s\n",
               signal, number(state.step), out_.c_str(), out_.c_str());
}

void RunReport::stopped_early(const TrainerState& state) {
  end_line();
  std::fprintf(stderr, "stopped early at step %lld: %s without a gain\n", number(state.step),
               count_text(state.evaluations_since_best, "evaluation").c_str());
}

void RunReport::nothing_to_do(const TrainerState& state) {
  end_line();
  std::fprintf(stderr, "nothing to do: %s has %lld of %s\n", out_.c_str(), number(state.step),
               count_text(last_step_, "step").c_str());
}

void RunReport::finished(const TrainerState& state, const std::optional<RunData::Validation>& validation,
                         std::size_t peak_bytes) {
  end_line();
  if (validation) std::fprintf(stderr, "validation loss %.4f; ", validation->loss);
  if (validation && validation->accuracy) {
    std::fprintf(stderr, "%.2f %% of the answers are right; ", 100 * *validation->accuracy);
  }
  std::fprintf(stderr, "saved in %s: %s; tensors took at most %s\n", out_.c_str(),
               saved_generations(out_, state).c_str(), bytes_text(peak_bytes).c_str());
}

}  // namespace mixgrad::app
