// The help of the program and of its verbs, at most 100 columns wide.
#pragma once

#include <string>
#include <vector>

#include "apps/options/verb.h"

namespace mixgrad::app {

struct VerbSummary {
  std::string name, summary;
};

std::string program_help(const std::vector<VerbSummary>& verbs);

// Usage, the words of the argument, the options in groups with the verb's own first, an example, the exit codes.
std::string verb_help(const std::string& name, const Verb& verb, const OptionSet& options);

}  // namespace mixgrad::app
