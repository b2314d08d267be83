#include "apps/web/model_form.h"

#include <algorithm>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/config/layer_kinds.h"

namespace mixgrad::app {
namespace {

using Json = ModelForm::Json;

std::string shell_text(const std::string& text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-_.:,=+/").find(c) != std::string_view::npos;
  });
  if (plain && !text.empty()) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

const Preset& preset_of(const std::string& name) {
  std::vector<std::string> names;
  for (const Preset& preset : model_presets()) {
    if (preset.name == name) return preset;
    names.push_back(preset.name);
  }
  raise<ValueError>("--preset must be one of ", join(names), "; got ", quote(name), "; ", did_you_mean(name, names),
                    "choose one of them");
}

}  // namespace

ModelForm::ModelForm() {
  model_.declare_model(options_);
  training_.declare_batch(options_);
  training_.declare_steps(options_);
  training_.declare_optimisation(options_);
  training_.declare_dropout(options_);
  training_.declare_seed(options_);
}

ModelForm::ModelForm(const Json& request) : ModelForm() {
  command_ = "mixgrad train";
  const std::string preset = request.value("preset", "");
  if (!preset.empty()) {
    for (const auto& [name, value] :
         preset_of(preset).values) {  // others, such as --eval-every, belong to a run in files
      if (const OptionSpec* option = options_.find(name)) option->set("--" + name, value);
    }
    command_ += " --preset " + preset;
  }
  std::vector<const OptionSpec*> given;
  const Json values = request.value("values", Json::object());
  for (const auto& [name, typed] : values.items()) {
    const OptionSpec* option = options_.find(name);
    if (option == nullptr) {
      raise<ValueError>("--", name, ": there is no such option; ", did_you_mean(name, options_.names()),
                        "options: ", join(options_.names()));
    }
    option->set("--" + name, typed.get<std::string>());
    command_ += " --" + name + " " + shell_text(typed.get<std::string>());
    given.push_back(option);
  }
  for (const OptionSpec* option : given) {
    const OptionTraits& traits = option->traits;
    if (traits.useless && !traits.useless().empty()) {
      raise<ValueError>("--", option->name, " has no effect: ", traits.useless(), "; leave it as it is");
    }
    if (traits.depends_on.option.empty()) continue;
    const std::string chosen = options_.find(traits.depends_on.option)->get();
    const std::vector<std::string>& owners = traits.depends_on.values;
    if (std::find(owners.begin(), owners.end(), chosen) == owners.end()) {
      raise<ValueError>("--", option->name, " has no effect with --", traits.depends_on.option, " ", chosen,
                        "; leave it as it is");
    }
  }
  training_.check();
  command_ += " --out runs/mine";
}

Json ModelForm::describe() {
  const ModelForm form;
  Json options = Json::array();
  for (const OptionSpec& option : form.options_.options()) {
    options.push_back(
        Json{{"name", option.name}, {"help", option.help}, {"value", option.traits.value}, {"default", option.get()}});
  }
  Json presets = Json::array();
  for (const Preset& preset : model_presets()) {
    Json values = Json::object();
    for (const auto& [name, value] : preset.values) values[name] = value;
    presets.push_back(Json{{"name", preset.name}, {"help", preset.help}, {"values", values}});
  }
  return Json{{"options", options}, {"presets", presets}, {"mixers", pattern_names()}};
}

}  // namespace mixgrad::app
