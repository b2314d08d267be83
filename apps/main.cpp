// The command line: turns presets, config files and arguments into the options of a verb, and errors into exit codes.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <functional>
#include <iostream>

#include "apps/config_file.h"
#include "apps/option_value.h"
#include "apps/verb.h"
#include "apps/version.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "nn/suggest.h"

namespace mixgrad::app {
namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 done, 1 a check failed, 2 wrong options, 3 bad input (data, checkpoint), 4 system (files, memory),\n"
    "130 and 143 stopped by SIGINT or SIGTERM.";

// One option: how it reads and prints its value, and what the command line gave. Values reach the variables only in
// CliOptions::resolve, so preset, config file and command line follow the same rules.
struct Option {
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

class CliOptions : public OptionSet {
 public:
  explicit CliOptions(CLI::App& command) : command_(command) {}

  void add(const std::string& name, std::string& value, const std::string& help) override {
    declare(
        name, "TEXT", help, ConfigEntry::Type::text, [&value](const auto&, const auto& text) { value = text; },
        [&value] { return value; }, value);
  }
  void add(const std::string& name, std::int64_t& value, IntRange range, const std::string& help) override {
    declare(
        name, "INT", help, ConfigEntry::Type::number,
        [&value, range](const auto& what, const auto& text) { value = parse_integer(what, text, range); },
        [&value] { return std::to_string(value); }, std::to_string(value));
  }
  void add(const std::string& name, std::uint64_t& value, const std::string& help) override {
    declare(
        name, "INT", help, ConfigEntry::Type::number,
        [&value](const auto& what, const auto& text) { value = parse_unsigned(what, text); },
        [&value] { return std::to_string(value); }, std::to_string(value));
  }
  void add(const std::string& name, double& value, RealRange range, const std::string& help) override {
    declare(
        name, "NUMBER", help, ConfigEntry::Type::number,
        [&value, range](const auto& what, const auto& text) { value = parse_real(what, text, range); },
        [&value] { return number_text(value); }, number_text(value));
  }
  void add(const std::string& name, std::string& value, const std::vector<std::string>& allowed,
           const std::string& help) override {
    std::string kinds;
    for (const std::string& word : allowed) kinds += (kinds.empty() ? "" : "|") + word;
    declare(
        name, kinds, help, ConfigEntry::Type::text,
        [&value, allowed](const auto& what, const auto& text) { value = parse_word(what, text, allowed); },
        [&value] { return value; }, value);
  }
  void add_switch(const std::string& name, bool& value, const std::string& help) override {
    declare(
        name, "true|false", help, ConfigEntry::Type::boolean,
        [&value](const auto& what, const auto& text) { value = parse_switch(what, text); },
        [&value] { return value ? "true" : "false"; }, value ? "true" : "false");
  }
  void add_flag(const std::string& name, bool& value, const std::string& help) override {
    declare(
        name, "", help, ConfigEntry::Type::boolean,
        [&value](const auto& what, const auto& text) { value = parse_switch(what, text); },
        [&value] { return value ? "true" : "false"; }, "");
  }
  void add_positional(const std::string& name, std::vector<std::string>& values, const std::string& help) override {
    command_.add_option(name, values, help)->type_name("")->required();
  }
  void add_presets(const std::vector<Preset>& presets) override {
    presets_ = presets;
    std::vector<std::string> allowed;
    std::string help = "Values for many options at once:";
    for (const Preset& preset : presets) {
      allowed.push_back(preset.name);
      help += "\n" + preset.name + ": " + preset.help;
    }
    add("preset", preset_, allowed, help);
  }

  // What the command line has beyond the verb's own options.
  void add_common() {
    command_.add_option("--config", config_, "TOML file with any of these options; the command line wins")
        ->type_name("FILE")
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    command_.add_flag("--print-config", print_text_, "Print all values as TOML and stop");
  }

  // Sets the variables after the command line was read: preset, then config file, then command line, and under all of
  // them what an earlier run decides.
  void resolve(Verb& verb) {
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

  bool print_config() const { return parse_switch("--print-config", print_text_); }

  void print(std::ostream& out, const Verb& verb) const {
    for (const auto& option : options_) {
      if (option->name != "preset" && verb.without_effect(option->name).empty()) {
        out << option->name << " = " << option->toml() << "\n";
      }
    }
  }

  void refuse_without_effect(const Verb& verb) const {
    for (const auto& option : options_) {
      if (!option->given()) continue;
      const std::string reason = verb.without_effect(option->name);
      if (!reason.empty()) raise<ValueError>("--", option->name, " cannot be given here: ", reason, "; leave it out");
    }
  }

  // "--out --json" would name a folder "--json": a value that is itself an option must be joined by '='.
  void refuse_missing_values(const std::vector<std::string>& arguments) const {
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

  std::vector<std::string> names() const {
    std::vector<std::string> names = keys();
    names.insert(names.end(), {"config", "print-config", "help"});
    return names;
  }

 private:
  using Set = std::function<void(const std::string& what, const std::string& text)>;

  // Without a type's name it is a flag.
  void declare(const std::string& name, const std::string& type_name, const std::string& help, ConfigEntry::Type type,
               Set set, std::function<std::string()> value, const std::string& shown) {
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

  std::vector<std::string> keys() const {
    std::vector<std::string> names;
    for (const auto& option : options_) names.push_back(option->name);
    return names;
  }

  // Of "--name" or "--name=value".
  const CLI::Option* find_command(const std::string& argument) const {
    if (!argument.starts_with("--")) return nullptr;
    return command_.get_option_no_throw(argument.substr(0, argument.find('=')));
  }

  Option* find(const std::string& name) const {
    for (const auto& option : options_) {
      if (option->name == name) return option.get();
    }
    return nullptr;
  }

  void apply_preset(const Option& option) {
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

  void apply_earlier(Verb& verb) {
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

  void apply_config() {
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

  CLI::App& command_;
  std::vector<std::unique_ptr<Option>> options_;
  std::vector<Preset> presets_;
  std::string preset_;
  std::string config_;
  std::string print_text_ = "false";
};

using Arguments = std::vector<std::string>;

std::vector<std::unique_ptr<Verb>> all_verbs() {
  std::vector<std::unique_ptr<Verb>> verbs;
  for (auto make :
       {make_train, make_generate, make_eval, make_gradcheck, make_conform, make_ops, make_inspect, make_bench}) {
    verbs.push_back(make());
  }
  return verbs;
}

// What is left over: a misspelt option, or an argument that the verb does not take.
[[noreturn]] void refuse_extras(const Arguments& extras, const std::vector<std::string>& names) {
  for (const std::string& extra : extras) {
    const std::string word = extra.substr(0, extra.find('='));
    if (word.size() < 2 || word[0] != '-' || word == "--") continue;
    const std::string near = nearest(word.substr(std::min(word.find_first_not_of('-'), word.size())), names);
    raise<ValueError>("unknown option ", quote(word), near.empty() ? "" : "; did you mean --" + near + "?");
  }
  raise<ValueError>("unexpected argument ", quote(extras.back()));
}

int run_verb(Verb& verb, Arguments arguments) {
  CLI::App command(verb.summary(), verb.name());
  command.allow_extras();  // so that a misspelt option can be named with the nearest right one
  command.footer("Example:\n  " + verb.example() + "\n\n" + kExitCodes);
  CliOptions options(command);
  verb.declare(options);
  options.add_common();
  bool prints = false;
  try {
    bool missing = false;
    options.refuse_missing_values(arguments);
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
    try {
      command.parse(arguments);
    } catch (const CLI::CallForHelp&) {
      command.name("mixgrad " + verb.name());
      std::cout << command.help();
      return kOk;
    } catch (const CLI::RequiredError&) {
      missing = true;  // said below: a misspelt option may be the reason
    } catch (const CLI::ParseError& error) {
      raise<ValueError>(error.what());
    }
    if (command.remaining_size() > 0) refuse_extras(command.remaining(), options.names());
    if (missing) raise<ValueError>("an argument is required, as in ", verb.example());
    options.resolve(verb);
    options.refuse_without_effect(verb);
    prints = options.print_config();
  } catch (const ValueError& error) {
    const std::string text = error.what();
    raise<ValueError>(verb.name(), ": ", text, text.ends_with("?") ? "" : ";", " see mixgrad ", verb.name(), " --help");
  }
  if (prints) {
    options.print(std::cout, verb);
    return kOk;
  }
  return verb.run();
}

int run(const Arguments& arguments) {
  const std::vector<std::unique_ptr<Verb>> verbs = all_verbs();
  const std::string first = arguments.empty() ? "--help" : arguments[0];
  Arguments names;
  for (const auto& verb : verbs) {
    if (verb->name() == first) return run_verb(*verb, {arguments.begin() + 1, arguments.end()});
    names.push_back(verb->name());
  }
  if (first == "--version") {
    std::cout << version_text() << "\n";
    return kOk;
  }
  if (first == "--help" || first == "-h") {
    CLI::App app("mixgrad: train, check and look into small sequence models (softmax attention, shift mixing)",
                 "mixgrad");
    app.set_version_flag("--version", version_text(), "Print version, commit and instruction set and stop");
    for (const auto& verb : verbs) app.add_subcommand(verb->name(), verb->summary());
    app.footer("mixgrad VERB --help tells the options of a verb.\n" + std::string(kExitCodes));
    std::cout << app.help();
    return kOk;
  }
  if (first.starts_with("-")) {
    const std::string near =
        nearest(first.substr(std::min(first.find_first_not_of('-'), first.size())), {"help", "version"});
    raise<ValueError>("unknown option ", quote(first), "; ", near.empty() ? "" : "did you mean --" + near + "? ",
                      "a verb comes first, one of ", join(names));
  }
  raise<ValueError>("unknown verb ", quote(first), "; ", did_you_mean(first, names), "verbs: ", join(names));
}

// One line, whatever a file's name or content brought into the text.
int fail(ExitCode code, const std::string& text) {
  std::string line;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      line += c;
    } else {
      char escape[8];
      std::snprintf(escape, sizeof escape, c == '\n' ? "\\n" : "\\x%02x", static_cast<unsigned>(byte));
      line += escape;
    }
  }
  std::fprintf(stderr, "mixgrad: %s\n", line.c_str());
  return code;
}

int exit_code_of(const Arguments& arguments) {
  try {
    return run(arguments);
  } catch (const FormatError& error) {
    return fail(kBadInput, error.what());
  } catch (const IoError& error) {
    return fail(kSystem, error.what());
  } catch (const OutOfMemory& error) {
    return fail(kSystem, error.what());
  } catch (const Interrupted& interrupted) {
    return 128 + interrupted.signal;  // whoever let it through has said what stands
  } catch (const std::bad_alloc&) {
    return fail(kSystem, "out of memory; try a smaller --batch or model");
  } catch (const Error& error) {
    return fail(kUsage, error.what());
  } catch (const std::exception& error) {
    return fail(kCheckFailed, std::string("unexpected: ") + error.what());
  }
}

// What was printed must have arrived: a full disk behind stdout is an error as well.
int flush_output(int code) {
  std::cout.flush();
  const bool lost = std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout;
  if (!lost || code == kSystem) return code;
  fail(kSystem, "stdout: the output could not be written whole; check the free space where it goes");
  return code == kOk ? kSystem : code;
}

}  // namespace
}  // namespace mixgrad::app

int main(int argc, char** argv) {
  using namespace mixgrad;
  flush_denormals();
  return app::flush_output(app::exit_code_of({argv + 1, argv + argc}));
}
