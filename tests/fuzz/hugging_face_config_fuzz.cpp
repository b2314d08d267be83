// A config.json of Hugging Face; what is accepted is a valid model whose kind writes it and reads it back as the same.
#include "nn/exchange/hugging_face/hugging_face_config.h"

#include <algorithm>

#include "nn/exchange/hugging_face/hugging_face_model.h"
#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  HuggingFaceConfig config(text, "fuzz");
  const HuggingFaceModel& kind = hugging_face_model_of(config);
  ModelConfig model = kind.read(config);
  (void)config.decisions();
  const std::int64_t context = model.context;
  model.context = std::max<std::int64_t>(context, 1);
  if (!first_broken_rule(model).empty()) return;
  if (model.layers.size() > 8) model.layers.erase(model.layers.begin() + 8, model.layers.end());
  for (const TensorRecipe& recipe : kind.recipes(model)) {
    std::int64_t numbers = 0;
    for (const TheirTensor& part : recipe.parts) numbers += part.shape.numel();
    MIXGRAD_ASSERT(numbers == recipe.shape.numel(), "the parts make the whole tensor");
  }
  MIXGRAD_ASSERT(kind.objection(model).empty(), "a kind can express what it has read");
  const std::string written = kind.write(model).dump();
  HuggingFaceConfig again(written, "written");
  ModelConfig same = hugging_face_model_of(again).read(again);
  if (context == 0) same.context = model.context;
  MIXGRAD_ASSERT(same == model, "a kind reads what it has written");
}

}  // namespace mixgrad
