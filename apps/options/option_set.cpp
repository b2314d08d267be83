#include "apps/options/option_set.h"

#include <algorithm>

#include "apps/options/option_value.h"
#include "core/error.h"

namespace mixgrad::app {

std::function<std::string()> useless_when(std::function<bool()> condition, std::string reason) {
  return
      [condition = std::move(condition), reason = std::move(reason)] { return condition() ? reason : std::string(); };
}

OptionSpec& OptionSet::declare(const std::string& name, const std::string& help, OptionTraits traits,
                               const char* value) {
  MIXGRAD_ASSERT(find(name) == nullptr, "an option is declared once");
  OptionSpec& option = options_.emplace_back();
  option.name = name;
  option.help = help;
  option.traits = std::move(traits);
  if (option.traits.value.empty()) option.traits.value = value;
  return option;
}

void OptionSet::add(const std::string& name, std::string& value, const std::string& help, OptionTraits traits) {
  OptionSpec& option = declare(name, help, std::move(traits), "TEXT");
  option.default_text = value;
  const auto& canonical = option.traits.canonical;
  option.set = [&value, canonical](const auto& what, const auto& text) {
    value = canonical && !text.empty() ? canonical(what, text) : text;
  };
  option.get = [&value] { return value; };
}

void OptionSet::add(const std::string& name, std::int64_t& value, IntRange range, const std::string& help,
                    OptionTraits traits) {
  OptionSpec& option = declare(name, help, std::move(traits), "INT");
  option.type = ConfigEntry::Type::number;
  option.default_text = std::to_string(value);
  option.set = [&value, range](const auto& what, const auto& text) { value = parse_integer(what, text, range); };
  option.get = [&value] { return std::to_string(value); };
}

void OptionSet::add(const std::string& name, std::uint64_t& value, const std::string& help, OptionTraits traits) {
  OptionSpec& option = declare(name, help, std::move(traits), "INT");
  option.type = ConfigEntry::Type::number;
  option.default_text = std::to_string(value);
  option.set = [&value](const auto& what, const auto& text) { value = parse_unsigned(what, text); };
  option.get = [&value] { return std::to_string(value); };
}

void OptionSet::add(const std::string& name, double& value, RealRange range, const std::string& help,
                    OptionTraits traits) {
  OptionSpec& option = declare(name, help, std::move(traits), "NUMBER");
  option.type = ConfigEntry::Type::number;
  option.default_text = number_text(value);
  option.set = [&value, range](const auto& what, const auto& text) { value = parse_real(what, text, range); };
  option.get = [&value] { return number_text(value); };
}

void OptionSet::add(const std::string& name, std::string& value, const std::vector<std::string>& allowed,
                    const std::string& help, OptionTraits traits) {
  std::string words;
  for (const std::string& word : allowed) words += (words.empty() ? "" : "|") + word;
  OptionSpec& option = declare(name, help, std::move(traits), words.c_str());
  option.default_text = value;
  option.set = [&value, allowed](const auto& what, const auto& text) { value = parse_word(what, text, allowed); };
  option.get = [&value] { return value; };
}

void OptionSet::add_switch(const std::string& name, bool& value, const std::string& help, OptionTraits traits) {
  OptionSpec& option = declare(name, help, std::move(traits), "true|false");
  option.type = ConfigEntry::Type::boolean;
  option.default_text = value ? "true" : "false";
  option.set = [&value](const auto& what, const auto& text) { value = parse_switch(what, text); };
  option.get = [&value] { return value ? "true" : "false"; };
}

void OptionSet::add_flag(const std::string& name, bool& value, const std::string& help, OptionTraits traits) {
  add_switch(name, value, help, std::move(traits));
  options_.back().flag = true;
  options_.back().default_text.clear();
}

void OptionSet::add_list(const std::string& name, std::vector<std::string>& values, const std::string& help,
                         OptionTraits traits) {
  OptionSpec& option = declare(name, help, std::move(traits), "TEXT");
  option.list = &values;
  option.set = [&values](const auto&, const auto& text) { values = {text}; };
  option.get = [&values] { return values.empty() ? std::string() : values.front(); };
}

void OptionSet::add_several(const std::string& name, std::vector<std::string>& values, const std::string& help,
                            OptionTraits traits) {
  add_list(name, values, help, std::move(traits));
  OptionSpec& option = options_.back();
  option.several = true;
  option.set = [&values](const auto& what, const auto& text) { values = list_of_text(what, text); };
  option.get = [&values] { return list_text(values); };
}

void OptionSet::add_presets(const std::vector<Preset>& presets, PresetUse use) {
  presets_ = presets;
  preset_use_ = use;
  std::vector<std::string> allowed;
  std::string help = "Values for many options at once:";
  for (const Preset& preset : presets) {
    allowed.push_back(preset.name);
    help += "\n" + preset.name + ": " + preset.help;
  }
  add("preset", preset_, allowed, help,
      {.value = "NAME", .decided_by = DecidedBy::checkpoint, .on_resume = OnResume::not_stored});
}

void OptionSet::limit_to(const std::vector<std::string>& words) {
  for (OptionSpec& option : options_) {
    if (option.traits.only_for.empty()) option.traits.only_for = words;
  }
}

void OptionSet::add_choice(std::string& word, const std::vector<ChoiceWord>& words) {
  argument_.words = words;
  argument_.word = &word;
}

void OptionSet::add_files(const std::string& name, std::vector<std::string>& files, const std::string& help,
                          ArgumentUse use) {
  argument_.name = name;
  argument_.help = help;
  argument_.files = &files;
  argument_.use = use;
}

const OptionSpec* OptionSet::find(const std::string& name) const {
  const auto found = std::find_if(options_.begin(), options_.end(), [&](const auto& o) { return o.name == name; });
  return found == options_.end() ? nullptr : &*found;
}

std::vector<std::string> OptionSet::names() const {
  std::vector<std::string> names;
  for (const OptionSpec& option : options_) names.push_back(option.name);
  return names;
}

const Preset* OptionSet::chosen_preset() const {
  const auto chosen =
      std::find_if(presets_.begin(), presets_.end(), [&](const auto& preset) { return preset.name == preset_; });
  return chosen == presets_.end() ? nullptr : &*chosen;
}

}  // namespace mixgrad::app
