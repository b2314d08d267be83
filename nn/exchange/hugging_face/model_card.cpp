#include "nn/exchange/hugging_face/model_card.h"

#include <sstream>

#include "core/build.h"
#include "nn/config/layer_json.h"
#include "nn/model/decoder.h"

namespace mixgrad {

std::string model_card(const ModelToExport& model, const std::string& architecture, bool has_tokenizer) {
  const ModelConfig& config = model.config;
  std::int64_t parameters = 0;
  for (const auto& item : parameter_shapes(config)) parameters += item.second.numel();
  std::ostringstream card;
  card << "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- mixgrad\n---\n\n"
       << "# " << model.name << "\n\n"
       << "A model of mixgrad " << MIXGRAD_VERSION_MAJOR << "." << MIXGRAD_VERSION_MINOR << "." << MIXGRAD_VERSION_PATCH
       << ", written for the package transformers.\n\n"
       << "| | |\n|---|---|\n"
       << "| architecture | " << architecture << " |\n"
       << "| parameters | " << parameters << " |\n"
       << "| layers | " << config.layers.size() << ", " << config.d_model << " wide |\n"
       << "| vocabulary | " << config.vocab_size << " tokens |\n"
       << "| context | " << config.context << " tokens |\n";
  if (!model.training.empty()) card << "| training | " << model.training << " |\n";
  card << "\n```python\nfrom transformers import AutoModelForCausalLM" << (has_tokenizer ? ", AutoTokenizer" : "")
       << "\nmodel = AutoModelForCausalLM.from_pretrained(\"DIR\")\n";
  if (has_tokenizer) {
    card << "tokenizer = AutoTokenizer.from_pretrained(\"DIR\")\n"
         << "inputs = tokenizer(\"Once\", return_tensors=\"pt\")\n"
         << "print(tokenizer.decode(model.generate(inputs.input_ids, max_new_tokens=50)[0]))\n";
  }
  card
      << "```\n\nWhat the model was trained on, what it is for and its licence are not known to the program that wrote "
         "this page: add them before you publish it.\n";
  return card.str();
}

}  // namespace mixgrad
