// The command line: turns arguments, presets and config files into the options of a verb, and errors into exit codes.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <map>

#include "apps/verb.h"
#include "apps/version.h"
#include "core/error.h"
#include "core/parallel.h"
#include "nn/suggest.h"

namespace mixgrad::app {
namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 done, 1 a check failed, 2 wrong options, 3 bad input (data, checkpoint), 4 system (files, memory).";

std::string number_text(double value) {
  std::ostringstream text;
  text.precision(17);
  for (int digits = 1; digits <= 17; ++digits) {  // the shortest text that reads back as the same number
    text.str("");
    text << std::setprecision(digits) << value;
    if (std::stod(text.str()) == value) break;
  }
  return text.str();
}

std::string toml_string(const std::string& value) {
  std::string text = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    if (c == '\n') {
      text += "\\n";
    } else {
      text += c;
    }
  }
  return text + "\"";
}

// OptionSet over a CLI11 subcommand. Values are taken last-wins, so that preset, config and command line can simply
// stand one after the other.
class CliOptions : public OptionSet {
 public:
  explicit CliOptions(CLI::App& command) : command_(command) {}

  void add(const std::string& name, std::string& value, const std::string& help) override {
    keep(command_.add_option("--" + name, value, help)->type_name("TEXT"), name, !value.empty(),
         [&value] { return toml_string(value); });
  }
  void add(const std::string& name, std::int64_t& value, const std::string& help) override {
    keep(command_.add_option("--" + name, value, help)->type_name("INT"), name, true,
         [&value] { return std::to_string(value); });
  }
  void add(const std::string& name, std::uint64_t& value, const std::string& help) override {
    keep(command_.add_option("--" + name, value, help)->type_name("INT"), name, true,
         [&value] { return std::to_string(value); });
  }
  void add(const std::string& name, double& value, const std::string& help) override {
    CLI::Option* option = command_.add_option("--" + name, value, help)->type_name("NUMBER");
    keep(option, name, false, [&value] { return number_text(value); });
    option->default_str(number_text(value));
  }
  void add(const std::string& name, std::string& value, const std::vector<std::string>& allowed,
           const std::string& help) override {
    const auto check = [allowed, name](const std::string& word) {
      if (std::find(allowed.begin(), allowed.end(), word) != allowed.end()) return std::string();
      return "must be one of " + join(allowed) + "; got " + quote(word) + "; " + did_you_mean(word, allowed);
    };
    std::string kinds;
    for (const std::string& word : allowed) kinds += (kinds.empty() ? "" : "|") + word;
    keep(command_.add_option("--" + name, value, help)->type_name(kinds)->check(check), name, true,
         [&value] { return toml_string(value); });
  }
  void add_switch(const std::string& name, bool& value, const std::string& help) override {
    keep(command_.add_option("--" + name, value, help)->type_name("true|false"), name, false,
         [&value] { return value ? "true" : "false"; });
    command_.get_option("--" + name)->default_str(value ? "true" : "false");
  }
  void add_flag(const std::string& name, bool& value, const std::string& help) override {
    command_.add_flag("--" + name, value, help);
    names_.push_back(name);
    printers_.emplace_back(name, [&value] { return value ? "true" : "false"; });
    flags_.push_back(name);
  }
  void add_positional(const std::string& name, std::vector<std::string>& values, bool required,
                      const std::string& help) override {
    CLI::Option* option = command_.add_option(name, values, help)->type_name("");
    if (required) option->required();
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
    command_.add_flag("--print-config", print_config_, "Print all values as TOML and stop");
    names_.insert(names_.end(), {"config", "print-config", "help"});
  }

  bool print_config() const { return print_config_; }
  const std::vector<std::string>& names() const { return names_; }

  void print(std::ostream& out) const {
    for (const auto& [name, text] : printers_) {
      if (name != "preset") out << name << " = " << text() << "\n";
    }
  }

  bool given(const std::string& name) const { return command_.get_option("--" + name)->count() > 0; }

  // Arguments with those of the config file and of the preset before them.
  std::vector<std::string> expand(const std::vector<std::string>& arguments) const {
    std::vector<std::string> all;
    const std::string file = last_value(arguments, "config");
    std::vector<std::string> from_file;
    if (!file.empty()) from_file = read_config(file);
    std::string preset = last_value(arguments, "preset");
    if (preset.empty()) preset = last_value(from_file, "preset");
    for (const Preset& known : presets_) {
      if (known.name != preset) continue;
      for (const auto& [name, value] : known.values) all.push_back("--" + name + "=" + value);
    }
    all.insert(all.end(), from_file.begin(), from_file.end());
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
  }

 private:
  void keep(CLI::Option* option, const std::string& name, bool show_default, std::function<std::string()> printer) {
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    if (show_default) option->capture_default_str();
    names_.push_back(name);
    printers_.emplace_back(name, std::move(printer));
  }

  static std::string last_value(const std::vector<std::string>& arguments, const std::string& name) {
    std::string value;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      if (arguments[i] == "--" + name && i + 1 < arguments.size()) value = arguments[i + 1];
      if (arguments[i].starts_with("--" + name + "=")) value = arguments[i].substr(name.size() + 3);
    }
    return value;
  }

  std::vector<std::string> read_config(const std::string& path) const {
    std::ifstream stream(path);
    if (!stream) raise<IoError>("--config ", path, ": cannot be read");
    std::vector<CLI::ConfigItem> items;
    try {
      items = CLI::ConfigTOML().from_config(stream);
    } catch (const CLI::Error& error) {
      raise<ValueError>("--config ", path, ": ", error.what());
    }
    std::vector<std::string> arguments;
    std::map<std::string, int> seen;
    for (const CLI::ConfigItem& item : items) {
      if (item.name == "++" || item.name == "--") continue;  // section marks of the reader
      const bool own_section = item.parents.empty() || (item.parents.size() == 1 && item.parents[0] == command_.get_name());
      if (!own_section) {
        raise<ValueError>("--config ", path, ": sections other than [", command_.get_name(), "] are not read, found [",
                          item.parents[0], "]");
      }
      const bool known = std::find(names_.begin(), names_.end(), item.name) != names_.end();
      if (!known || item.name == "config" || item.name == "help" || item.name == "print-config") {
        raise<ValueError>("--config ", path, ": unknown key ", quote(item.name), " for `mixgrad ", command_.get_name(),
                          "`; ", did_you_mean(item.name, names_), "see mixgrad ", command_.get_name(), " --help");
      }
      if (++seen[item.name] > 1) raise<ValueError>("--config ", path, ": the key ", quote(item.name), " occurs twice");
      if (item.inputs.size() != 1) {
        raise<ValueError>("--config ", path, ": the key ", quote(item.name), " needs one value, got ",
                          item.inputs.size());
      }
      const bool is_flag = std::find(flags_.begin(), flags_.end(), item.name) != flags_.end();
      if (is_flag && item.inputs[0] != "true" && item.inputs[0] != "false") {
        raise<ValueError>("--config ", path, ": the key ", quote(item.name), " must be true or false, got ",
                          quote(item.inputs[0]));
      }
      arguments.push_back("--" + item.name + "=" + item.inputs[0]);
    }
    return arguments;
  }

  CLI::App& command_;
  std::vector<std::string> names_;
  std::vector<std::string> flags_;
  std::vector<std::pair<std::string, std::function<std::string()>>> printers_;
  std::vector<Preset> presets_;
  std::string preset_;
  std::string config_;
  bool print_config_ = false;
};

struct Command {
  std::unique_ptr<Verb> verb;
  CLI::App* app;
  std::unique_ptr<CliOptions> options;
};

int usage_error(const std::string& text) {
  std::cerr << "mixgrad: " << text << "\n";
  return kUsage;
}

// A misspelt flag or verb, with the nearest right one.
int explain_extras(const CLI::App& app, const std::vector<Command>& commands) {
  for (const Command& command : commands) {
    if (!command.app->parsed()) continue;
    for (const std::string& extra : command.app->remaining()) {
      const std::string word = extra.substr(0, extra.find('='));
      if (!word.starts_with("--")) continue;
      return usage_error(command.verb->name() + ": unknown option " + quote(word) + "; " +
                         [&] {
                           const std::string near = nearest(word.substr(2), command.options->names());
                           return near.empty() ? std::string() : "did you mean --" + near + "? ";
                         }() +
                         "see mixgrad " + command.verb->name() + " --help");
    }
    for (const std::string& extra : command.app->remaining()) {
      return usage_error(command.verb->name() + ": unexpected argument " + quote(extra) + "; see mixgrad " +
                         command.verb->name() + " --help");
    }
  }
  std::vector<std::string> verbs;
  for (const Command& command : commands) verbs.push_back(command.verb->name());
  const auto remaining = app.remaining();
  const std::string word = remaining.empty() ? "" : remaining.front();
  return usage_error("unknown verb " + quote(word) + "; " + did_you_mean(word, verbs) + "verbs: " + join(verbs));
}

int run(int argc, char** argv) {
  CLI::App app("mixgrad: train, check and look into small sequence models (softmax attention, shift mixing)");
  app.set_version_flag("--version", version_text());
  app.footer(kExitCodes);
  std::vector<Command> commands;
  for (auto make : {make_train, make_generate, make_eval, make_gradcheck, make_conform, make_ops, make_inspect, make_bench}) {
    Command command{make(), nullptr, nullptr};
    command.app = app.add_subcommand(command.verb->name(), command.verb->summary());
    command.app->allow_extras();  // so that a misspelt flag can be named with the nearest right one
    command.app->footer("Example:\n  " + command.verb->example() + "\n\n" + kExitCodes);
    command.options = std::make_unique<CliOptions>(*command.app);
    command.verb->declare(*command.options);
    command.options->add_common();
    commands.push_back(std::move(command));
  }
  app.allow_extras();

  std::vector<std::string> arguments(argv + 1, argv + argc);
  for (const Command& command : commands) {
    if (arguments.empty() || arguments[0] != command.verb->name()) continue;
    const std::vector<std::string> own(arguments.begin() + 1, arguments.end());
    arguments = command.options->expand(own);
    arguments.insert(arguments.begin(), command.verb->name());
    break;
  }
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  try {
    app.parse(arguments);
  } catch (const CLI::Success& success) {  // --help, --version
    app.exit(success);
    return kOk;
  } catch (const CLI::ParseError& error) {
    for (const Command& command : commands) {
      if (command.app->parsed()) return usage_error(command.verb->name() + ": " + error.what());
    }
    return usage_error(error.what());
  }
  if (app.remaining_size(true) > 0) return explain_extras(app, commands);
  for (const Command& command : commands) {
    if (!command.app->parsed()) continue;
    if (command.options->print_config()) {
      command.options->print(std::cout);
      return kOk;
    }
    return command.verb->run([&](const std::string& name) { return command.options->given(name); });
  }
  std::cout << app.help();
  return argc > 1 ? kUsage : kOk;
}

}  // namespace
}  // namespace mixgrad::app

int main(int argc, char** argv) {
  using namespace mixgrad;
  std::ios::sync_with_stdio(true);
  flush_denormals();
  try {
    return app::run(argc, argv);
  } catch (const FormatError& error) {
    std::fprintf(stderr, "mixgrad: %s\n", error.what());
    return app::kBadInput;
  } catch (const IoError& error) {
    std::fprintf(stderr, "mixgrad: %s\n", error.what());
    return app::kSystem;
  } catch (const OutOfMemory& error) {
    std::fprintf(stderr, "mixgrad: %s\n", error.what());
    return app::kSystem;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "mixgrad: out of memory; try a smaller --batch or model\n");
    return app::kSystem;
  } catch (const Error& error) {
    std::fprintf(stderr, "mixgrad: %s\n", error.what());
    return app::kUsage;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mixgrad: unexpected: %s\n", error.what());
    return app::kCheckFailed;
  }
}
