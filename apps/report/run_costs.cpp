#include "apps/report/run_costs.h"

#include <cmath>

#include "core/error.h"
#include "core/text/parse_number.h"
#include "nn/files/generations.h"

namespace mixgrad::app {
namespace {

std::string option_of(const RunRecord& run, const std::string& name, const std::string& otherwise) {
  const auto found = run.options.find(name);
  return found == run.options.end() || found->second.empty() ? otherwise : found->second;
}

double number_of(const RunRecord& run, const std::string& name, double otherwise) {
  return parse_number<double>(option_of(run, name, "")).value_or(otherwise);
}

std::optional<MemoryPlan> plan_of(const RunRecord& run) {
  if (!option_of(run, "distill", "").empty()) return std::nullopt;
  const ModelConfig config = parse_model_config(run.config, run.path);
  const auto batch = static_cast<std::int64_t>(number_of(run, "batch", 1));
  if (run.operations * static_cast<double>(batch * config.context) > kMostPlannedOperations) return std::nullopt;
  const std::string precision = option_of(run, "precision", "f32");
  const DType dtype = precision == "bf16" ? DType::bf16 : precision == "f64" ? DType::f64 : DType::f32;
  const DropoutMask dropout = DropoutMask::of(number_of(run, "dropout", 0), 1);
  const Intermediates intermediates =
      option_of(run, "recompute", "false") == "true" ? Intermediates::recomputed : Intermediates::kept;
  const ReduceOrder order = option_of(run, "reduce-order", "any") == "rank" ? ReduceOrder::rank : ReduceOrder::any;
  try {
    return plan_training(config, {dtype, kCpu}, {.name = option_of(run, "optimizer", kDefaultOptimizer)}, batch,
                         dropout, {}, intermediates, {.order = order});
  } catch (const ValueError&) {  // an optimizer that another program has registered
    return std::nullopt;
  }
}

}  // namespace

RunCosts run_costs(const RunRecord& run) {
  RunCosts costs;
  costs.plan = plan_of(run);
  const std::filesystem::path generation = find_generation(run.path);
  for (const auto& file : std::filesystem::directory_iterator(generation)) costs.generation += file.file_size();
  costs.seconds = run.seconds();
  costs.seconds_left = static_cast<double>(run.steps - run.step) * run.ms_per_step() / 1e3;
  return costs;
}

}  // namespace mixgrad::app
