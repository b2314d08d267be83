// A verb of the command line: `mixgrad NAME [options]`. Each is one file in apps/verbs and one line in verbs.def.
#pragma once

#include <string>

#include "apps/options/option_set.h"

namespace mixgrad::app {

// Exit codes, as `mixgrad --help` and docs/cli.md state them. A run that a signal stopped ends with 128 + its number.
enum ExitCode : int {
  kOk = 0,
  kCheckFailed = 1,  // gradcheck or conform found a difference, or training met a loss that is not finite
  kUsage = 2,        // an option, a config file or a combination of values
  kBadInput = 3,     // the content of a data file, checkpoint or case
  kSystem = 4,       // a file that cannot be read or written, no memory
};

class StoredOptions;

class Verb {
 public:
  virtual ~Verb() = default;
  virtual std::string summary() const = 0;  // one line
  virtual std::string example() const = 0;  // a command that works
  virtual void declare(OptionSet& options) = 0;
  // For a verb that resumes runs (stored_options.h).
  virtual StoredOptions* stored_options() { return nullptr; }
  virtual int run() = 0;  // an ExitCode; may throw any mixgrad::Error
};

}  // namespace mixgrad::app
