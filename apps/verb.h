// A verb of the command line: `mixgrad NAME [options]`. One file each; main.cpp lists them and alone knows CLI11.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace mixgrad::app {

// Exit codes, as `mixgrad --help` and docs/cli.md state them.
enum ExitCode : int {
  kOk = 0,
  kCheckFailed = 1,  // gradcheck or conform found a difference, or training met a loss that is not finite
  kUsage = 2,        // an option, a config file or a combination of values
  kBadInput = 3,     // the content of a data file, checkpoint or case
  kSystem = 4,       // a file that cannot be read or written, no memory
};

// The options of a verb. Every option has a long name without dashes, keeps its default in the variable itself, and can
// stand in a config file under the same name.
class OptionSet {
 public:
  virtual ~OptionSet() = default;
  virtual void add(const std::string& name, std::string& value, const std::string& help) = 0;
  virtual void add(const std::string& name, std::int64_t& value, const std::string& help) = 0;
  virtual void add(const std::string& name, std::uint64_t& value, const std::string& help) = 0;
  virtual void add(const std::string& name, double& value, const std::string& help) = 0;
  // One of a list of words.
  virtual void add(const std::string& name, std::string& value, const std::vector<std::string>& allowed,
                   const std::string& help) = 0;
  // --name true|false
  virtual void add_switch(const std::string& name, bool& value, const std::string& help) = 0;
  // --name alone makes it true
  virtual void add_flag(const std::string& name, bool& value, const std::string& help) = 0;
  virtual void add_positional(const std::string& name, std::vector<std::string>& values, bool required,
                              const std::string& help) = 0;
  // Named sets of values, --preset NAME; config and command line win over them.
  struct Preset {
    std::string name, help;
    std::vector<std::pair<std::string, std::string>> values;  // option, value
  };
  virtual void add_presets(const std::vector<Preset>& presets) = 0;
};

// Was the option given by preset, config file or command line? Valid in run().
using Given = std::function<bool(const std::string& option)>;

class Verb {
 public:
  virtual ~Verb() = default;
  virtual std::string name() const = 0;
  virtual std::string summary() const = 0;   // one line
  virtual std::string example() const = 0;   // a command that works
  virtual void declare(OptionSet& options) = 0;
  virtual int run(const Given& given) = 0;  // an ExitCode; may throw any mixgrad::Error
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
