// The options that a verb declares: names, values, ranges, help and attributes.
//
//   options.add("steps", steps, kCount, "Optimizer steps of the whole run", {.group = OptionGroup::optimisation});
//
// Every option has a long name without dashes, keeps its default in the variable itself, and can stand in a config file
// under the same name. Whatever the program knows about an option is declared here once, with the option.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/options/config_file.h"

namespace mixgrad::app {

// The values that a number may have; both ends belong to the range.
struct IntRange {
  std::int64_t low, high;
};
inline constexpr IntRange kCount{1, 1'000'000'000};
inline constexpr IntRange kCountOrNone{0, 1'000'000'000};
inline constexpr IntRange kBatch{1, 1 << 20};
inline constexpr IntRange kThreads{0, 1024};

// The same for a number that is always finite; either end may be excluded from the range.
struct RealRange {
  double low = 0;
  double high = std::numeric_limits<double>::infinity();
  bool without_low = false;
  bool without_high = false;
};
inline constexpr RealRange kAboveZero{.without_low = true};

// The headings of the help, in its order.
enum class OptionGroup : std::uint8_t { run, data, model, optimisation, device };
inline constexpr const char* kGroupTitles[] = {"Run", "Data", "Model", "Optimisation", "Device"};

// An option decided by the checkpoint is refused beside an option that loads one.
enum class DecidedBy : std::uint8_t { command_line, checkpoint };

// What happens to an option when a run is resumed.
enum class OnResume : std::uint8_t {
  fixed,       // stored with the run; a given value must be the stored one, because results depend on it bit for bit
  may_change,  // stored with the run; a given value replaces it
  may_grow,    // an integer that is stored with the run; a given value replaces it when it is no smaller
  not_stored,  // belongs to the command alone
};

// The option has an effect only while another one has one of these values. Otherwise it is refused, and not stored.
struct DependsOn {
  std::string option;               // "" = on none
  std::vector<std::string> values;  // such as the optimizers that have a --beta1
};

// Attributes of an option beside its value.
struct OptionTraits {
  OptionGroup group = OptionGroup::run;
  std::string value = {};  // what stands for the value in the help, such as FILE; "" = by type
  DecidedBy decided_by = DecidedBy::command_line;
  OnResume on_resume = OnResume::fixed;
  bool loads_checkpoint = false;  // names the checkpoint that decides the options that a checkpoint decides
  bool resumes_run = false;       // names the run whose options are stored; a preset means nothing beside it
  bool not_empty = false;         // an empty text is refused; "" is what it has when none is given
  // Of a text: the one form in which it is kept and compared. ValueError for a text that is no value of the option.
  std::function<std::string(const std::string& what, const std::string& text)> canonical = {};
  // Why the option means nothing beside the values that the others have, or "". It is refused then, though stored.
  std::function<std::string()> useless = {};
  std::vector<std::string> only_for = {};  // words of the verb's argument that the option belongs to; empty = all
  DependsOn depends_on = {};
  std::optional<std::string> absent_means = {};  // where a run stored no value; a run does not store this one
  bool* given = nullptr;  // becomes whether it was given: for what only the verb can tell to be without effect
};

// An option as declared.
struct OptionSpec {
  std::string name, help;
  OptionTraits traits;
  ConfigEntry::Type type = ConfigEntry::Type::text;  // of its value in a config file
  bool flag = false;                                 // --name alone makes it true
  std::vector<std::string>* list = nullptr;          // all of its values, of one that may be given several times
  bool several = false;                              // a list whose values may follow one another: --name a b c
  std::string default_text;                          // "" = none to be shown
  // ValueError that begins with `what` when the text is no value of the option.
  std::function<void(const std::string& what, const std::string& text)> set;
  std::function<std::string()> get;  // the value as text, as `set` takes it
};

// For OptionTraits::useless: `reason` while the condition holds.
std::function<std::string()> useless_when(std::function<bool()> condition, std::string reason);

// Values for many options at once, --preset NAME; config file and command line win over them.
struct Preset {
  std::string name, help;
  std::vector<std::pair<std::string, std::string>> values;  // option, value
};
// Whether the verb has every option that its presets name, or ignores the others.
enum class PresetUse : std::uint8_t { complete, partial };

// A word that a verb takes as its argument, such as `model` of `mixgrad inspect model`.
struct ChoiceWord {
  std::string word, help;
};

class OptionSet {
 public:
  OptionSet() = default;
  OptionSet(const OptionSet&) = delete;
  OptionSet& operator=(const OptionSet&) = delete;

  void add(const std::string& name, std::string& value, const std::string& help, OptionTraits traits = {});
  void add(const std::string& name, std::int64_t& value, IntRange range, const std::string& help,
           OptionTraits traits = {});
  void add(const std::string& name, std::uint64_t& value, const std::string& help, OptionTraits traits = {});
  void add(const std::string& name, double& value, RealRange range, const std::string& help, OptionTraits traits = {});
  // One of a list of words.
  void add(const std::string& name, std::string& value, const std::vector<std::string>& allowed,
           const std::string& help, OptionTraits traits = {});
  // --name true|false
  void add_switch(const std::string& name, bool& value, const std::string& help, OptionTraits traits = {});
  // --name alone makes it true
  void add_flag(const std::string& name, bool& value, const std::string& help, OptionTraits traits = {});
  // May be given several times; what a config file has is one value.
  void add_list(const std::string& name, std::vector<std::string>& values, const std::string& help,
                OptionTraits traits = {});
  // The same, and --name a b c gives three. A config file and a stored run have several as one text (list_text).
  void add_several(const std::string& name, std::vector<std::string>& values, const std::string& help,
                   OptionTraits traits = {});
  void add_presets(const std::vector<Preset>& presets, PresetUse use);
  // The options declared so far, where they belong to all words of the argument, belong to these only.
  void limit_to(const std::vector<std::string>& words);

  // The argument of the verb: one of these words, one text or more (none, where they are optional), or a word and then
  // texts.
  void add_choice(std::string& word, const std::vector<ChoiceWord>& words);
  enum class ArgumentUse : std::uint8_t { required, optional };
  void add_files(const std::string& name, std::vector<std::string>& files, const std::string& help,
                 ArgumentUse use = ArgumentUse::required);

  // For a verb whose --config FILE has a form of its own: it is not read as the verb's options, but its path is put
  // here ("" = not given).
  void read_own_config(std::string& path, const std::string& help) {
    own_config_ = &path;
    own_config_help_ = help;
  }
  std::string* own_config() const { return own_config_; }
  const std::string& own_config_help() const { return own_config_help_; }

  const std::vector<OptionSpec>& options() const { return options_; }
  const OptionSpec* find(const std::string& name) const;
  std::vector<std::string> names() const;

  const std::vector<Preset>& presets() const { return presets_; }
  const Preset* chosen_preset() const;  // nullptr: none
  PresetUse preset_use() const { return preset_use_; }

  struct Argument {
    std::string name, help;         // of files
    std::vector<ChoiceWord> words;  // of a choice
    std::string* word = nullptr;    // one of the two is set when the verb takes an argument
    std::vector<std::string>* files = nullptr;
    ArgumentUse use = ArgumentUse::required;  // of files
  };
  const Argument& argument() const { return argument_; }

 private:
  OptionSpec& declare(const std::string& name, const std::string& help, OptionTraits traits, const char* value);

  std::vector<OptionSpec> options_;
  std::vector<Preset> presets_;
  PresetUse preset_use_ = PresetUse::complete;
  std::string preset_;
  Argument argument_;
  std::string* own_config_ = nullptr;
  std::string own_config_help_;
};

}  // namespace mixgrad::app
