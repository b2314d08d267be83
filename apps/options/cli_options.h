// The options of one verb on the command line: presets, then the config file, then what was typed, the last one wins.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include "apps/options/config_file.h"
#include "apps/options/verb.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace mixgrad::app {

class CliOptions : public OptionSet {
 public:
  explicit CliOptions(CLI::App& command);
  ~CliOptions() override;

  void add(const std::string& name, std::string& value, const std::string& help) override;
  void add(const std::string& name, std::int64_t& value, IntRange range, const std::string& help) override;
  void add(const std::string& name, std::uint64_t& value, const std::string& help) override;
  void add(const std::string& name, double& value, RealRange range, const std::string& help) override;
  void add(const std::string& name, std::string& value, const std::vector<std::string>& allowed,
           const std::string& help) override;
  void add_switch(const std::string& name, bool& value, const std::string& help) override;
  void add_flag(const std::string& name, bool& value, const std::string& help) override;
  void add_positional(const std::string& name, std::vector<std::string>& values, const std::string& help) override;
  void add_presets(const std::vector<Preset>& presets) override;

  // What the command line has beyond the verb's own options.
  void add_common();

  // Sets the variables after the command line was read: preset, then config file, then command line, and under all of
  // them what an earlier run decides.
  void resolve(Verb& verb);

  bool print_config() const;
  void print(std::ostream& out, const Verb& verb) const;
  void refuse_without_effect(const Verb& verb) const;

  // "--out --json" would name a folder "--json": a value that is itself an option must be joined by '='.
  void refuse_missing_values(const std::vector<std::string>& arguments) const;

  std::vector<std::string> names() const;

 private:
  struct Option;
  using Set = std::function<void(const std::string& what, const std::string& text)>;

  // Without a type's name it is a flag.
  void declare(const std::string& name, const std::string& type_name, const std::string& help, ConfigEntry::Type type,
               Set set, std::function<std::string()> value, const std::string& shown);

  std::vector<std::string> keys() const;
  const CLI::Option* find_command(const std::string& argument) const;  // of "--name" or "--name=value"
  Option* find(const std::string& name) const;

  void apply_preset(const Option& option);
  void apply_earlier(Verb& verb);
  void apply_config();

  CLI::App& command_;
  std::vector<std::unique_ptr<Option>> options_;
  std::vector<Preset> presets_;
  std::string preset_;
  std::string config_;
  std::string print_text_ = "false";
};

}  // namespace mixgrad::app
