#include "nn/modules/parameter_pattern.h"

#include <fnmatch.h>

#include <algorithm>
#include <cstddef>

#include "core/error.h"
#include "core/text/suggest.h"

namespace mixgrad {

std::vector<Parameter*> matching_parameters(ParameterSet& parameters, const std::string& pattern, const char* what) {
  std::vector<Parameter*> found;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    names.push_back(parameters[i].name);
    if (fnmatch(pattern.c_str(), names.back().c_str(), 0) == 0) found.push_back(&parameters[i]);
  }
  if (!found.empty()) return found;
  constexpr std::size_t kShown = 20;
  std::vector<std::string> shown = names;
  shown.resize(std::min(kShown, names.size()));
  const std::string more = names.size() > kShown ? " and " + std::to_string(names.size() - kShown) + " more" : "";
  raise<ValueError>(what, ": a pattern must match the name of a parameter; ", quote(pattern), " matches none; ",
                    did_you_mean(pattern, names), "there are ", join(shown), more);
}

}  // namespace mixgrad
