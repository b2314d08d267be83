// Training a model on what another one gives, after some of its heads were replaced (conversion.h).
//
//   const Teacher teacher = load_teacher("runs/base", placement);
//   check_teacher(teacher, student, tokenizer, DistillStage::logits);
//   const auto objective = make_distillation(teacher, student, {.stage = DistillStage::logits, .loss = {2, 0.5}});
//
// Two stages, each a run of its own with its own schedule and optimizer:
//   heads   the replaced heads alone, everything else frozen. Each gets the input u that its layer has in the teacher,
//           and is to give what the attention head in its place gives there, before the product o:
//             loss = mean over the replaced heads of |a - a_teacher|^2 / |a_teacher|^2
//           over all tokens of a micro-batch, whatever their targets; of a head with a_teacher = 0 it is the mean of
//           |a|^2. No layer waits for the one below: all learn at once.
//   logits  the whole model, by distillation_loss (ops/distillation_loss): the teacher's distribution of every token
//           mixed with the targets.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "nn/config/enum_names.h"
#include "nn/model/decoder.h"
#include "nn/tokenizers/tokenizer.h"
#include "nn/training/objective.h"
#include "ops/distillation_loss/distillation_loss.h"

namespace mixgrad {

enum class DistillStage : std::uint8_t { heads, logits };
template <>
const std::vector<std::string>& enum_names<DistillStage>();

struct DistillOptions {
  DistillStage stage = DistillStage::logits;
  Distillation loss = {};  // of the stage logits
};

struct Teacher {
  std::shared_ptr<const Decoder> model;
  TokenizerPtr tokenizer;
  std::filesystem::path folder;  // the generation's, absolute
  std::string xxh3;              // of its model.safetensors
};

// As load_checkpoint; its errors.
Teacher load_teacher(const std::filesystem::path& path, Placement placement);

// ValueError when the teacher has another tokenizer or vocabulary, or a shorter context; for the stage `heads` also
// when no Mamba or shift head of the student stands where the teacher has a softmax head, when the layer of one has
// other numbers of heads in the teacher, or had such heads before (their parameters are not its own).
void check_teacher(const Teacher& teacher, const Decoder& student, const Tokenizer& tokenizer, DistillStage stage);

// What the stage minimises. Both models are kept; the student is that of every call of accumulate().
std::unique_ptr<Objective> make_distillation(std::shared_ptr<const Decoder> teacher, const Decoder& student,
                                             const DistillOptions& options);

// Freezes everything but the parameters of the replaced heads, as the stage `heads` needs.
void freeze_kept_parameters(const ModelConfig& teacher, Decoder& student);

}  // namespace mixgrad
