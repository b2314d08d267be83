// A verb of the command line: `mixgrad NAME [options]`. One file each; main.cpp lists them.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace mixgrad::app {

// Exit codes, as `mixgrad --help` and docs/cli.md state them. A run that a signal stopped ends with 128 + its number.
enum ExitCode : int {
  kOk = 0,
  kCheckFailed = 1,  // gradcheck or conform found a difference, or training met a loss that is not finite
  kUsage = 2,        // an option, a config file or a combination of values
  kBadInput = 3,     // the content of a data file, checkpoint or case
  kSystem = 4,       // a file that cannot be read or written, no memory
};

// The values that a number may have; the ends belong to the range.
struct IntRange {
  std::int64_t low, high;
};
inline constexpr IntRange kCount{1, 1'000'000'000};
inline constexpr IntRange kCountOrNone{0, 1'000'000'000};
inline constexpr IntRange kBatch{1, 1 << 20};
inline constexpr IntRange kThreads{0, 1024};

// The same for a number that is always finite; an end may be left out of the range.
struct RealRange {
  double low = 0;
  double high = std::numeric_limits<double>::infinity();
  bool without_low = false;
  bool without_high = false;
};
inline constexpr RealRange kAboveZero{.without_low = true};

// The options of a verb. Every option has a long name without dashes, keeps its default in the variable itself, and can
// stand in a config file under the same name.
class OptionSet {
 public:
  virtual ~OptionSet() = default;
  virtual void add(const std::string& name, std::string& value, const std::string& help) = 0;
  virtual void add(const std::string& name, std::int64_t& value, IntRange range, const std::string& help) = 0;
  virtual void add(const std::string& name, std::uint64_t& value, const std::string& help) = 0;
  virtual void add(const std::string& name, double& value, RealRange range, const std::string& help) = 0;
  // One of a list of words.
  virtual void add(const std::string& name, std::string& value, const std::vector<std::string>& allowed,
                   const std::string& help) = 0;
  // --name true|false
  virtual void add_switch(const std::string& name, bool& value, const std::string& help) = 0;
  // --name alone makes it true
  virtual void add_flag(const std::string& name, bool& value, const std::string& help) = 0;
  virtual void add_positional(const std::string& name, std::vector<std::string>& values, const std::string& help) = 0;
  // Named sets of values, --preset NAME; config and command line win over them.
  struct Preset {
    std::string name, help;
    std::vector<std::pair<std::string, std::string>> values;  // option, value
  };
  virtual void add_presets(const std::vector<Preset>& presets) = 0;
};

using OptionTexts = std::vector<std::pair<std::string, std::string>>;  // option, value as text

class Verb {
 public:
  virtual ~Verb() = default;
  virtual std::string name() const = 0;
  virtual std::string summary() const = 0;  // one line
  virtual std::string example() const = 0;  // a command that works
  virtual void declare(OptionSet& options) = 0;
  // Why an option means nothing beside the others that are set, or "". One that is given all the same is refused;
  // --print-config leaves it out.
  virtual std::string without_effect(const std::string& option) const {
    static_cast<void>(option);
    return {};
  }
  // `train --resume`: the values that an earlier run decides. They are asked for when all given values are set; a given
  // one must then be the same, unless may_change(option). None: a verb, or a command, that goes on with nothing.
  virtual OptionTexts earlier_values() { return {}; }
  virtual bool keeps(const std::string& option) const {  // belongs to the earlier values
    static_cast<void>(option);
    return false;
  }
  virtual bool may_change(const std::string& option) const {
    static_cast<void>(option);
    return false;
  }
  // All options with the values that they have in the end.
  virtual void note_values(const OptionTexts& values) { static_cast<void>(values); }
  virtual int run() = 0;  // an ExitCode; may throw any mixgrad::Error
};

std::unique_ptr<Verb> make_train();
std::unique_ptr<Verb> make_generate();
std::unique_ptr<Verb> make_eval();
std::unique_ptr<Verb> make_gradcheck();
std::unique_ptr<Verb> make_conform();
std::unique_ptr<Verb> make_ops();
std::unique_ptr<Verb> make_inspect();
std::unique_ptr<Verb> make_bench();

}  // namespace mixgrad::app
