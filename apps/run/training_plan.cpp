#include "apps/run/training_plan.h"

#include <string>
#include <utility>
#include <vector>

#include "core/allocator.h"
#include "core/text/bytes.h"
#include "nn/files/file.h"
#include "nn/files/generations.h"
#include "nn/tokenizers/tokenizer_types.h"
#include "nn/training/memory_plan.h"

namespace mixgrad::app {
namespace {

// With a teacher of initial weights: memory does not depend on them.
ObjectiveMaker planned_objective(const PlannedModel& planned, const TrainingOptions& training,
                                 const DistillSettings& distill) {
  if (!distill.any()) return {};
  return [&](Decoder& model) {
    Teacher teacher;
    teacher.folder = find_generation(distill.teacher);
    const std::filesystem::path path = teacher.folder / "config.json";
    const ModelConfig config = parse_model_config(read_text(path), path.string());
    teacher.model = std::make_shared<Decoder>(config, training.model_placement());
    const std::filesystem::path tokenizer = teacher.folder / "tokenizer.json";
    teacher.tokenizer = load_tokenizer(read_text(tokenizer), tokenizer.string());
    const DistillOptions options = distill.values();
    check_teacher(teacher, model, *planned.tokenizer, options.stage);
    if (options.stage == DistillStage::heads) freeze_kept_parameters(config, model);
    return make_distillation(teacher.model, model, options);
  };
}

PlannedRanks planned_ranks(const PlannedModel& planned, const TrainingOptions& training) {
  const ReduceOptions reduce = training.reduce_options();
  PlannedRanks ranks{.order = reduce.order};
  if (planned.processes == 1) return ranks;
  if (training.shard == "optimizer") ranks.shares = planned.processes;
  if (reduce.dtype == DType::bf16 && training.model_placement().device.is_cuda()) {
    ranks.sent_in_bf16 = static_cast<std::int64_t>(reduce.bucket_bytes / dtype_bytes(DType::f32));
  }
  return ranks;
}

}  // namespace

void print_training_plan(const PlannedModel& planned, const TrainingOptions& training, const DistillSettings& distill,
                         std::int64_t checkpoints, Format format) {
  const bool divided = training.shard == "optimizer";
  const MemoryPlan plan =
      plan_training(planned.config, training.model_placement(), training.optimizer_settings(), training.batch,
                    training.dropout_mask(), planned_objective(planned, training, distill), training.intermediates(),
                    planned_ranks(planned, training));
  const std::size_t free = free_memory_on(training.model_placement().device);
  const auto bytes = [](const char* name, std::size_t count, std::string remark = {}) {
    return Figure{.key = name, .value = count, .label = name, .text = bytes_text(count), .remark = std::move(remark)};
  };
  std::string batch = "batch " + std::to_string(training.batch) + ", context " + std::to_string(planned.config.context);
  if (plan.traced_batch * 2 < training.batch) {
    batch += "; estimated from a batch of " + std::to_string(plan.traced_batch);
  }
  Figure reserved = bytes("reserved", plan.reserved);
  reserved.shown = ShownIn::json;
  std::vector<Figure> figures{
      bytes("parameters", plan.parameters, training.placement.precision),
      bytes("gradients", plan.gradients),
      bytes("optimizer", plan.optimizer,
            divided && planned.processes > 1 ? "a share of the state of " + training.optimizer
                                             : "state of " + training.optimizer),
      bytes("activations", plan.activations, batch),
      bytes("peak", plan.peak, "of tensors; the pool takes " + bytes_text(plan.reserved) + " from the system"),
      reserved,
      bytes("checkpoint", plan.checkpoint, "on disk, up to " + std::to_string(checkpoints) + " at a time"),
      bytes("free", free, plan.reserved > free ? "TOO LITTLE: try a smaller --batch with more --accumulate" : "")};
  if (distill.any()) figures.insert(figures.begin() + 3, bytes("teacher", plan.objective, "of --distill"));
  print_figures(format, figures);
}

}  // namespace mixgrad::app
