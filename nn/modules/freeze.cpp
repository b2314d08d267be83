#include "nn/modules/freeze.h"

#include <fnmatch.h>

#include <algorithm>
#include <cstddef>

#include "core/error.h"
#include "core/text/suggest.h"

namespace mixgrad {

std::int64_t freeze(ParameterSet& parameters, const std::vector<std::string>& patterns) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < parameters.size(); ++i) names.push_back(parameters[i].name);
  for (const std::string& pattern : patterns) {
    bool found = false;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (fnmatch(pattern.c_str(), names[i].c_str(), 0) != 0) continue;
      parameters[i].trainable = false;
      found = true;
    }
    if (found) continue;
    constexpr std::size_t kShown = 20;
    std::vector<std::string> shown = names;
    shown.resize(std::min(kShown, names.size()));
    const std::string more = names.size() > kShown ? " and " + std::to_string(names.size() - kShown) + " more" : "";
    raise<ValueError>("freeze: a pattern must match the name of a parameter; ", quote(pattern), " matches none; ",
                      did_you_mean(pattern, names), "there are ", join(shown), more);
  }
  std::int64_t frozen = 0;
  std::size_t count = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].trainable) continue;
    frozen += parameters[i].shape.numel();
    ++count;
  }
  if (!patterns.empty() && count == parameters.size()) {
    raise<ValueError>("freeze: at least one parameter must be left to train; the patterns match all ", count,
                      "; give fewer or narrower ones");
  }
  return frozen;
}

}  // namespace mixgrad
