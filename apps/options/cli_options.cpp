#include "apps/options/cli_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>
#include <utility>

#include "apps/options/option_value.h"
#include "core/error.h"
#include "core/text/suggest.h"

namespace mixgrad::app {

// One option: how it reads and prints its value, and what the command line gave. Values reach the variables only in
// CliOptions::resolve, so preset, config file and command line follow the same rules.
struct CliOptions::Option {
  std::string name;
  ConfigEntry::Type type = ConfigEntry::Type::text;  // that its value has in a config file
  std::function<void(const std::string& what, const std::string& text)> set;
  std::function<std::string()> value;  // as text, as `set` takes it
  CLI::Option* command = nullptr;
  std::string text;         // from the command line
  std::string config_text;  // from the config file
  std::string config_place;
  bool in_config = false;
  bool in_preset = false;

  bool given() const { return in_config || command->count() > 0; }
  std::string toml() const { return type == ConfigEntry::Type::text ? quoted_toml(value()) : value(); }
};

CliOptions::CliOptions(CLI::App& command) : command_(command) {}
CliOptions::~CliOptions() = default;

void CliOptions::add(const std::string& name, std::string& value, const std::string& help) {
  declare(
      name, "TEXT", help, ConfigEntry::Type::text, [&value](const auto&, const auto& text) { value = text; },
      [&value] { return value; }, value);
}

void CliOptions::add(const std::string& name, std::int64_t& value, IntRange range, const std::string& help) {
  declare(
      name, "INT", help, ConfigEntry::Type::number,
      [&value, range](const auto& what, const auto& text) { value = parse_integer(what, text, range); },
      [&value] { return std::to_string(value); }, std::to_string(value));
}

void CliOptions::add(const std::string& name, std::uint64_t& value, const std::string& help) {
  declare(
      name, "INT", help, ConfigEntry::Type::number,
      [&value](const auto& what, const auto& text) { value = parse_unsigned(what, text); },
      [&value] { return std::to_string(value); }, std::to_string(value));
}

void CliOptions::add(const std::string& name, double& value, RealRange range, const std::string& help) {
  declare(
      name, "NUMBER", help, ConfigEntry::Type::number,
      [&value, range](const auto& what, const auto& text) { value = parse_real(what, text, range); },
      [&value] { return number_text(value); }, number_text(value));
}

void CliOptions::add(const std::string& name, std::string& value, const std::vector<std::string>& allowed,
                     const std::string& help) {
  std::string kinds;
  for (const std::string& word : allowed) kinds += (kinds.empty() ? "" : "|") + word;
  declare(
      name, kinds, help, ConfigEntry::Type::text,
      [&value, allowed](const auto& what, const auto& text) { value = parse_word(what, text, allowed); },
      [&value] { return value; }, value);
}

void CliOptions::add_switch(const std::string& name, bool& value, const std::string& help) {
  declare(
      name, "true|false", help, ConfigEntry::Type::boolean,
      [&value](const auto& what, const auto& text) { value = parse_switch(what, text); },
      [&value] { return value ? "true" : "false"; }, value ? "true" : "false");
}

void CliOptions::add_flag(const std::string& name, bool& value, const std::string& help) {
  declare(
      name, "", help, ConfigEntry::Type::boolean,
      [&value](const auto& what, const auto& text) { value = parse_switch(what, text); },
      [&value] { return value ? "true" : "false"; }, "");
}

void CliOptions::add_positional(const std::string& name, std::vector<std::string>& values, const std::string& help) {
  command_.add_option(name, values, help)->type_name("")->required();
}

void CliOptions::add_presets(const std::vector<Preset>& presets) {
  presets_ = presets;
  std::vector<std::string> allowed;
  std::string help = "Values for many options at once:";
  for (const Preset& preset : presets) {
    allowed.push_back(preset.name);
    help += "\n" + preset.name + ": " + preset.help;
  }
  add("preset", preset_, allowed, help);
}

void CliOptions::add_common() {
  command_.add_option("--config", config_, "TOML file with any of these options; the command line wins")
      ->type_name("FILE")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  command_.add_flag("--print-config", print_text_, "Print all values as TOML and stop");
}

void CliOptions::resolve(Verb& verb) {
  if (command_.get_option("--config")->count() > 0) apply_config();
  const Option* preset = find("preset");
  if (preset != nullptr && preset->given()) apply_preset(*preset);
  for (const auto& option : options_) {
    const std::string what = "--" + option->name;
    if (option->in_config) option->set(option->config_place + option->name, option->config_text);
    if (option->command->count() > 0) option->set(what, option->text);
  }
  apply_earlier(verb);
  OptionTexts values;
  for (const auto& option : options_) values.emplace_back(option->name, option->value());
  verb.note_values(values);
}

bool CliOptions::print_config() const { return parse_switch("--print-config", print_text_); }

void CliOptions::print(std::ostream& out, const Verb& verb) const {
  for (const auto& option : options_) {
    if (option->name != "preset" && verb.without_effect(option->name).empty()) {
      out << option->name << " = " << option->toml() << "\n";
    }
  }
}

void CliOptions::refuse_without_effect(const Verb& verb) const {
  for (const auto& option : options_) {
    if (!option->given()) continue;
    const std::string reason = verb.without_effect(option->name);
    if (!reason.empty()) raise<ValueError>("--", option->name, " cannot be given here: ", reason, "; leave it out");
  }
}

void CliOptions::refuse_missing_values(const std::vector<std::string>& arguments) const {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const CLI::Option* option = find_command(argument);
    if (option == nullptr || option->get_items_expected_max() == 0) continue;  // not ours, or a flag
    if (argument.find('=') < argument.size() - 1) continue;
    const bool joined = argument.ends_with('=');
    const bool last = i + 1 == arguments.size();
    if (joined || last || find_command(arguments[i + 1]) != nullptr) {
      raise<ValueError>(option->get_name(), " needs a value (", option->get_type_name(), "); got ",
                        joined || last ? "nothing" : "the option " + arguments[i + 1]);
    }
    ++i;
  }
}

std::vector<std::string> CliOptions::names() const {
  std::vector<std::string> names = keys();
  names.insert(names.end(), {"config", "print-config", "help"});
  return names;
}

void CliOptions::declare(const std::string& name, const std::string& type_name, const std::string& help,
                         ConfigEntry::Type type, Set set, std::function<std::string()> value,
                         const std::string& shown) {
  Option& option = *options_.emplace_back(std::make_unique<Option>());
  option.name = name;
  option.type = type;
  option.set = std::move(set);
  option.value = std::move(value);
  option.command = type_name.empty() ? command_.add_flag("--" + name, option.text, help)
                                     : command_.add_option("--" + name, option.text, help)->type_name(type_name);
  option.command->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  if (!shown.empty()) option.command->default_str(shown);
}

std::vector<std::string> CliOptions::keys() const {
  std::vector<std::string> names;
  for (const auto& option : options_) names.push_back(option->name);
  return names;
}

const CLI::Option* CliOptions::find_command(const std::string& argument) const {
  if (!argument.starts_with("--")) return nullptr;
  return command_.get_option_no_throw(argument.substr(0, argument.find('=')));
}

CliOptions::Option* CliOptions::find(const std::string& name) const {
  for (const auto& option : options_) {
    if (option->name == name) return option.get();
  }
  return nullptr;
}

void CliOptions::apply_preset(const Option& option) {
  const bool from_command = option.command->count() > 0;
  option.set(from_command ? "--preset" : option.config_place + "preset",
             from_command ? option.text : option.config_text);
  for (const Preset& preset : presets_) {
    if (preset.name != preset_) continue;
    for (const auto& [name, value] : preset.values) {
      Option* known = find(name);
      MIXGRAD_ASSERT(known != nullptr, "a preset names options of the verb");
      known->in_preset = true;
      known->set("preset " + preset_ + ": " + name, value);
    }
  }
}

void CliOptions::apply_earlier(Verb& verb) {
  const OptionTexts earlier = verb.earlier_values();
  if (earlier.empty()) return;
  std::vector<std::string> kept;
  for (const auto& option : options_) {
    if (verb.keeps(option->name)) kept.push_back(option->name);
  }
  const auto has = [&](const std::string& name) {
    return std::any_of(earlier.begin(), earlier.end(), [&](const auto& item) { return item.first == name; });
  };
  for (const std::string& name : kept) {
    if (!has(name)) raise<FormatError>("trainer.json: options.", name, " is required; it is missing");
  }
  for (const auto& [name, text] : earlier) {
    const Option* option = find(name);
    if (option == nullptr || !verb.keeps(name)) {
      raise<FormatError>("trainer.json: unknown key options.", name, "; ", did_you_mean(name, kept),
                         "the keys are the options that a run keeps");
    }
    const bool asked = option->given() || option->in_preset;
    if (asked && verb.may_change(name)) continue;
    const std::string wanted = option->value();
    try {
      option->set("options." + name, text);
    } catch (const ValueError& error) {
      raise<FormatError>("trainer.json: ", error.what(), "; take another generation");
    }
    if (asked && option->value() != wanted) {
      raise<ValueError>("--", name, " must stay what it was in this run, ", quote(option->value()), "; got ",
                        quote(wanted), "; leave it out, or start a new run from its weights with --checkpoint");
    }
  }
}

void CliOptions::apply_config() {
  for (const ConfigEntry& entry : read_config(config_, command_.get_name())) {
    Option* option = find(entry.key);
    const std::string place = "--config " + config_ + " line " + std::to_string(entry.line) + ": ";
    if (option == nullptr) {
      raise<ValueError>(place, "unknown key ", quote(entry.key), "; ", did_you_mean(entry.key, keys()),
                        "the keys are the options of this verb");
    }
    if (entry.type != option->type) {
      constexpr const char* kKinds[] = {"a text in quotes", "a number", "true or false"};
      raise<ValueError>(place, entry.key, " must be ", kKinds[static_cast<int>(option->type)], "; got ",
                        quote(entry.value), entry.type == ConfigEntry::Type::text ? ", a text" : "");
    }
    option->in_config = true;
    option->config_text = entry.value;
    option->config_place = place;
  }
}

}  // namespace mixgrad::app
