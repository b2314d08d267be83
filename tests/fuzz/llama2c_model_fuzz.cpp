// A checkpoint of llama2.c; every tensor of what is accepted is made, taken apart, and has its bits again.
#include <algorithm>

#include "nn/exchange/llama2c/llama2c_file.h"
#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  (void)begins_later_llama2c_model(text);
  if (!begins_llama2c_model(text)) return;
  const Llama2cFile file = Llama2cFile::parse(MappedFile::of(text, "fuzz"));
  MIXGRAD_ASSERT(llama2c_objection(file.config()).empty(), "the format can express what it has read");
  const auto read = [&](const TheirTensor& part) { return file.read(part); };
  for (const TensorRecipe& recipe : llama2c_recipes(file.config())) {
    for (const auto& [name, tensor] : take_apart(recipe, assemble(recipe, read))) {
      const auto part = std::find_if(recipe.parts.begin(), recipe.parts.end(),
                                     [&, wanted = name](const TheirTensor& one) { return one.name == wanted; });
      MIXGRAD_ASSERT(part != recipe.parts.end() && file.read(*part).equal_bits(tensor), "the bits are the same again");
    }
  }
}

}  // namespace mixgrad
