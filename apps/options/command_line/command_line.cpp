// Above 400 lines by a few: one class, the steps from arguments to options that are set, in their order.
#include "apps/options/command_line/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <climits>
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <utility>

#include "apps/options/command_line/help.h"
#include "apps/options/option_value.h"
#include "apps/options/stored_options.h"
#include "core/error.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"

namespace mixgrad::app {
namespace {

using Arguments = std::vector<std::string>;

class CommandLine {
 public:
  CommandLine(const std::string& name, Verb& verb) : name_(name), verb_(verb), command_("", name) {
    verb.declare(options_);
    command_.set_help_flag();
    command_.allow_extras();  // so that a misspelt option can be named with the nearest right one
    for (const OptionSpec& option : options_.options()) {
      add(option.name, option.flag, option.traits.value);
      if (option.several) given_.at(option.name).command->expected(1, INT_MAX)->allow_extra_args(true);
    }
    add("config", false, "FILE");
    add("print-config", true, "");
    add("help", true, "");
    given_["help"].command = command_.get_option("--help");
    if (options_.argument().word != nullptr) command_.add_option("argument", words_);
    if (options_.argument().word == nullptr && options_.argument().files != nullptr) {
      command_.add_option("argument", *options_.argument().files);
    }
  }

  // False when help or values were printed and the verb is not to run.
  bool read(Arguments arguments) {
    refuse_missing_values(arguments);
    std::reverse(arguments.begin(), arguments.end());  // the order that CLI11 takes
    try {
      command_.parse(arguments);
    } catch (const CLI::ParseError& error) {
      raise<ValueError>(error.what());
    }
    if (flag("help")) {
      std::cout << verb_help(name_, verb_, options_);
      return false;
    }
    if (command_.remaining_size() > 0) refuse_extras(command_.remaining());
    refuse_twice();
    read_argument();
    resolve();
    refuse_without_effect();
    if (!flag("print-config")) return true;
    print_values();
    return false;
  }

  // Which options of the verb make it take less memory, as "; try a smaller --batch or a shorter --context".
  std::string memory_advice() const {
    const std::pair<const char*, const char*> kOptions[] = {
        {"batch", "a smaller --batch"}, {"context", "a shorter --context"}, {"accumulate", "more --accumulate"}};
    const std::vector<OptionSpec>& all = options_.options();
    const bool resumes = std::any_of(all.begin(), all.end(), [](const OptionSpec& option) {
      return option.traits.resumes_run && !option.get().empty();
    });
    std::vector<std::string> advice;
    for (const auto& [name, text] : kOptions) {
      const OptionSpec* option = options_.find(name);
      if (option == nullptr || !without_effect(*option).empty()) continue;
      if (!resumes || option->traits.on_resume != OnResume::fixed) advice.emplace_back(text);
    }
    return "; try " + (advice.empty() ? "again with more free memory" : join(advice));
  }

 private:
  // What was given for one option.
  struct Given {
    CLI::Option* command = nullptr;
    std::vector<std::string> texts;  // from the command line
    bool in_config = false;
    bool in_preset = false;
    std::string config_text;
    std::string config_position;  // "--config FILE line 3: "

    bool on_command_line() const { return command->count() > 0; }
    bool anywhere() const { return in_config || on_command_line(); }
  };

  void add(const std::string& name, bool is_flag, const std::string& value_name) {
    Given& given = given_[name];
    const std::string dashed = "--" + name;
    given.command =
        is_flag ? command_.add_flag(dashed, given.texts)
                : command_.add_option(dashed, given.texts)->expected(1)->allow_extra_args(false)->type_name(value_name);
    given.command->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  }

  const Given& given(const OptionSpec& option) const { return given_.at(option.name); }
  bool flag(const std::string& name) const {
    const Given& given = given_.at(name);
    return given.on_command_line() && parse_switch("--" + name, given.texts.back());
  }

  const CLI::Option* find_command(const std::string& argument) const {  // of "--name" or "--name=value"
    if (!argument.starts_with("--")) return nullptr;
    return command_.get_option_no_throw(argument.substr(0, argument.find('=')));
  }

  // "--out --json" would name a folder "--json": a value that is itself an option must be joined by '='.
  void refuse_missing_values(const Arguments& arguments) const {
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      const std::string& argument = arguments[i];
      const CLI::Option* option = find_command(argument);
      if (option == nullptr || option->get_items_expected_max() == 0) continue;  // unknown, or a flag
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

  // A misspelt option, or an argument that the verb does not take.
  [[noreturn]] void refuse_extras(const Arguments& extras) const {
    Arguments names = options_.names();
    names.insert(names.end(), {"config", "print-config", "help"});
    for (const std::string& extra : extras) {
      const std::string word = extra.substr(0, extra.find('='));
      if (word.size() < 2 || word[0] != '-' || word == "--") continue;
      const std::string near = nearest(word.substr(std::min(word.find_first_not_of('-'), word.size())), names);
      raise<ValueError>("unknown option ", quote(word), near.empty() ? "" : "; did you mean --" + near + "?");
    }
    raise<ValueError>("unexpected argument ", quote(extras.back()));
  }

  void refuse_twice() const {
    for (const auto& [name, given] : given_) {
      const OptionSpec* option = options_.find(name);
      if (given.command->count() < 2 || (option != nullptr && option->list != nullptr)) continue;
      raise<ValueError>("--", name, " must be given once; it was given ", given.command->count(), " times, ",
                        quote(given.texts[0]), " and ", quote(given.texts[1]), "; leave one out");
    }
  }

  void read_argument() {
    const OptionSet::Argument& argument = options_.argument();
    const bool required = argument.use == OptionSet::ArgumentUse::required;
    if (argument.word != nullptr && words_.empty()) {
      raise<ValueError>("an argument is required, as in ", verb_.example());
    }
    if (argument.word != nullptr && argument.files != nullptr) {
      argument.files->assign(words_.begin() + 1, words_.end());
      words_.resize(1);
    }
    if (argument.word != nullptr) read_word(argument);
    if (argument.files != nullptr && argument.files->empty() && required) {
      raise<ValueError>("an argument is required, as in ", verb_.example());
    }
  }

  void read_word(const OptionSet::Argument& argument) {
    Arguments allowed;
    for (const ChoiceWord& word : argument.words) allowed.push_back(word.word);
    if (words_.size() > 1) {
      raise<ValueError>("one word is required (", join(allowed), "); got ", words_.size(), " words");
    }
    *argument.word = parse_word("its argument", words_[0], allowed);
  }

  void resolve() {
    if (given_.at("config").on_command_line()) {
      if (options_.own_config() != nullptr) {
        *options_.own_config() = given_.at("config").texts.back();
      } else {
        apply_config();
      }
    }
    if (const OptionSpec* preset = options_.find("preset"); preset != nullptr && given(*preset).anywhere()) {
      apply_preset(*preset);
    }
    for (const OptionSpec& option : options_.options()) {
      const Given& value = given(option);
      if (value.in_config) option.set(value.config_position + option.name, value.config_text);
      const bool typed = std::find(value.texts.begin(), value.texts.end(), "") != value.texts.end();
      const bool empty = typed || (value.in_config && !value.on_command_line() && value.config_text.empty());
      // In a config file "" is a run that is not named: --print-config writes it. On a command line it is a mistake.
      const bool names_run = option.traits.loads_checkpoint || option.traits.resumes_run;
      if ((option.traits.not_empty && empty) || (names_run && typed)) {
        raise<ValueError>("--", option.name, " needs at least one character");
      }
      if (option.traits.given != nullptr) *option.traits.given = value.anywhere();
      if (!value.on_command_line()) continue;
      if (option.list == nullptr) option.set("--" + option.name, value.texts.back());
      if (option.list != nullptr) *option.list = value.texts;
    }
    refuse_preset_of_resumed();
    if (StoredOptions* stored = verb_.stored_options()) {
      apply_stored(stored->load());
      OptionTexts values;
      for (const OptionSpec& option : options_.options()) {
        if (option.traits.on_resume == OnResume::not_stored || !applies(option)) continue;
        const std::string value = option.get();
        if (option.traits.absent_means != value) values.emplace_back(option.name, value);
      }
      stored->store(values);
    }
  }

  void apply_config() {
    const std::string& path = given_.at("config").texts.back();
    for (const ConfigEntry& entry : read_config(path, name_)) {
      const OptionSpec* option = options_.find(entry.key);
      const std::string position = "--config " + path + " line " + std::to_string(entry.line) + ": ";
      if (option == nullptr) {
        raise<ValueError>(position, "unknown key ", quote(entry.key), "; ", did_you_mean(entry.key, options_.names()),
                          "the keys are the options of this verb");
      }
      if (!entry.values.empty() && !option->several) {
        raise<ValueError>(position, entry.key, " must be one value; got an array of ", entry.values.size());
      }
      if (entry.type != option->type) {
        constexpr const char* kKinds[] = {"a text in quotes", "a number", "true or false"};
        raise<ValueError>(position, entry.key, " must be ", kKinds[static_cast<int>(option->type)], "; got ",
                          quote(entry.value), entry.type == ConfigEntry::Type::text ? ", a text" : "");
      }
      Given& given = given_.at(option->name);
      given.in_config = true;
      given.config_text = entry.values.empty() ? entry.value : list_text(entry.values);
      given.config_position = position;
    }
  }

  void apply_preset(const OptionSpec& option) {
    const Given& name = given(option);
    const bool typed = name.on_command_line();
    option.set(typed ? "--preset" : name.config_position + "preset", typed ? name.texts.back() : name.config_text);
    const Preset& preset = *options_.chosen_preset();
    for (const auto& [key, value] : preset.values) {
      const OptionSpec* known = options_.find(key);
      MIXGRAD_ASSERT(known != nullptr || options_.preset_use() == PresetUse::partial,
                     "a preset names options of the verb");
      if (known == nullptr) continue;
      given_.at(key).in_preset = true;
      known->set("preset " + preset.name + ": " + key, value);
    }
  }

  void apply_stored(const OptionTexts& stored) {
    if (stored.empty()) return;
    std::map<std::string, std::string> values(stored.begin(), stored.end());
    for (const OptionSpec& option : options_.options()) {
      if (!option.traits.absent_means) continue;
      values.emplace(option.name, *option.traits.absent_means);
      apply_stored(option, values.at(option.name));  // first: which other options belong to the run depends on it
    }
    Arguments names;
    for (const OptionSpec& option : options_.options()) {
      if (option.traits.on_resume == OnResume::not_stored || !applies(option, values)) continue;
      names.push_back(option.name);
      if (values.count(option.name) == 0) {
        raise<FormatError>("trainer.json: options.", option.name, " is required; it is missing");
      }
    }
    for (const auto& [name, text] : values) {
      const OptionSpec* option = options_.find(name);
      if (std::find(names.begin(), names.end(), name) == names.end()) {
        raise<FormatError>("trainer.json: unknown key options.", name, "; ", did_you_mean(name, names),
                           "the keys are the options that a run stores");
      }
      apply_stored(*option, text);
    }
  }

  void apply_stored(const OptionSpec& option, const std::string& text) const {
    const bool asked = given(option).anywhere() || given(option).in_preset;
    if (asked && option.traits.on_resume == OnResume::may_change) return;
    const std::string wanted = option.get();
    try {
      option.set("options." + option.name, text);
    } catch (const ValueError& error) {
      raise<FormatError>("trainer.json: ", error.what(), "; take another generation");
    }
    if (asked && option.traits.on_resume == OnResume::may_grow) {
      const std::string stored = option.get();
      if (mixgrad::parse_integer(wanted).value_or(0) >= mixgrad::parse_integer(stored).value_or(0)) {
        option.set("--" + option.name, wanted);
        return;
      }
      raise<ValueError>("--", option.name, " must be at least what it was in this run, ", stored, "; got ", wanted,
                        "; leave it out, or end earlier with --stop-after");
    }
    if (asked && option.get() != wanted) {
      raise<ValueError>("--", option.name, " must stay what it was in this run, ", quote(option.get()), "; got ",
                        quote(wanted), "; leave it out, or start a new run from its weights with --checkpoint");
    }
  }

  // Has the option an effect, given the value of the option that it depends on?
  static bool applies(const OptionSpec& option, const std::string& value) {
    const Arguments& values = option.traits.depends_on.values;
    return std::find(values.begin(), values.end(), value) != values.end();
  }
  bool applies(const OptionSpec& option) const {
    const std::string& other = option.traits.depends_on.option;
    return other.empty() || applies(option, options_.find(other)->get());
  }
  static bool applies(const OptionSpec& option, const std::map<std::string, std::string>& values) {
    const std::string& other = option.traits.depends_on.option;
    if (other.empty()) return true;
    const auto found = values.find(other);
    return found != values.end() && applies(option, found->second);
  }

  // Why the option means nothing beside the others that are set, or "".
  std::string without_effect(const OptionSpec& option) const {
    const Arguments& words = option.traits.only_for;
    if (!words.empty() && std::find(words.begin(), words.end(), *options_.argument().word) == words.end()) {
      std::string verbs;
      for (const std::string& word : words) verbs += (verbs.empty() ? "" : " and ") + name_ + " " + word;
      return "it belongs to " + verbs;
    }
    const DependsOn& depends = option.traits.depends_on;
    if (!applies(option)) return "it belongs to --" + depends.option + " " + join(depends.values);
    if (option.traits.decided_by == DecidedBy::checkpoint) {
      for (const OptionSpec& other : options_.options()) {
        if (other.traits.loads_checkpoint && !other.get().empty()) {
          return "the checkpoint of --" + other.name + " decides the model";
        }
      }
    }
    if (option.traits.useless) return option.traits.useless();
    return {};
  }

  void refuse_without_effect() const {
    for (const OptionSpec& option : options_.options()) {
      if (!given(option).anywhere()) continue;
      const std::string reason = without_effect(option);
      if (!reason.empty()) raise<ValueError>("--", option.name, " cannot be given here: ", reason, "; leave it out");
    }
  }

  // Before the stored values are set, which would name one of the preset's options in place of --preset.
  void refuse_preset_of_resumed() const {
    const OptionSpec* preset = options_.find("preset");
    if (preset == nullptr || !given(*preset).anywhere()) return;
    for (const OptionSpec& option : options_.options()) {
      if (!option.traits.resumes_run || option.get().empty()) continue;
      raise<ValueError>("--preset cannot be given here: all options come from the run that --", option.name,
                        " names; leave it out");
    }
  }

  void print_values() const {
    for (const OptionSpec& option : options_.options()) {
      if (option.name == "preset" || !without_effect(option).empty()) continue;
      if (option.traits.not_empty && option.get().empty()) continue;
      if (option.list != nullptr && option.list->size() > 1 && !option.several) {
        raise<ValueError>("--", option.name,
                          " must be given once beside --print-config, as a config file has it; it was ", "given ",
                          option.list->size(), " times; leave the others out");
      }
      const bool text = option.type == ConfigEntry::Type::text;
      std::cout << option.name << " = " << (text ? quoted_toml(option.get()) : option.get()) << "\n";
    }
  }

  std::string name_;
  Verb& verb_;
  OptionSet options_;
  CLI::App command_;
  std::map<std::string, Given> given_;
  Arguments words_;  // of the verb's argument
};

}  // namespace

int run_verb(const std::string& name, Verb& verb, const Arguments& arguments) {
  CommandLine line(name, verb);
  bool runs = false;
  try {
    runs = line.read(arguments);
  } catch (const ValueError& error) {
    const std::string text = error.what();
    raise<ValueError>(name, ": ", text, text.ends_with("?") ? "" : ";", " see mixgrad ", name, " --help");
  }
  if (!runs) return kOk;
  try {
    return verb.run();
  } catch (const OutOfMemory& error) {
    raise<OutOfMemory>(error.what(), line.memory_advice());
  } catch (const std::bad_alloc&) {
    raise<OutOfMemory>("out of memory", line.memory_advice());
  }
}

}  // namespace mixgrad::app
