#include "apps/options/distill_options.h"

namespace mixgrad::app {

void DistillSettings::declare(OptionSet& options) {
  options.add("distill", teacher,
              "Teacher: a run or generation whose outputs this model learns, with the same tokenizer and at least its "
              "context",
              {.group = OptionGroup::optimisation,
               .value = "DIR",
               .on_resume = OnResume::may_change,
               .not_empty = true,
               .absent_means = ""});
  OptionTraits traits{.group = OptionGroup::optimisation};
  traits.useless = useless_when([this] { return teacher.empty(); }, "it belongs to --distill");
  traits.absent_means = "logits";
  options.add("distill-stage", stage, enum_names<DistillStage>(),
              "heads: replaced heads alone learn what the teacher's attention heads give on the teacher's own inputs, "
              "everything else is frozen; logits: the model learns the teacher's distributions and the data",
              traits);
  traits.useless = [this]() -> std::string {
    if (teacher.empty()) return "it belongs to --distill";
    return stage == "logits" ? "" : "it belongs to --distill-stage logits";
  };
  traits.absent_means = "2";
  options.add("distill-temperature", temperature, {.low = 0, .high = 100, .without_low = true},
              "Both distributions are softmax(logits / this)", traits);
  traits.absent_means = "0.5";
  options.add("distill-mix", mix, {.low = 0, .high = 1, .without_low = true},
              "Weight of the teacher's part of the loss; the rest is the plain loss", traits);
}

DistillOptions DistillSettings::values() const {
  return {.stage = parse_enum<DistillStage>(stage, "--distill-stage"),
          .loss = {.temperature = temperature, .mix = mix}};
}

}  // namespace mixgrad::app
