#include "nn/modules/lr_scale.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"
#include "nn/modules/parameter_pattern.h"

namespace mixgrad {

std::int64_t scale_learning_rates(ParameterSet& parameters, const std::vector<std::string>& scales) {
  constexpr double kMost = 1000;
  for (const std::string& scale : scales) {
    const std::size_t equals = scale.rfind('=');
    if (equals == std::string::npos) {
      raise<ValueError>("lr-scale: PATTERN=FACTOR is required, such as embed.*=0.1; got ", quote(scale),
                        "; add the factor");
    }
    const std::optional<double> factor = parse_number<double>(std::string_view(scale).substr(equals + 1));
    if (!factor || !(*factor > 0 && *factor <= kMost)) {
      raise<ValueError>("lr-scale: a factor must be above 0 and at most ", kMost, "; got ", quote(scale),
                        "; correct it, or leave parameters as they are with freeze");
    }
    const std::vector<Parameter*> matching = matching_parameters(parameters, scale.substr(0, equals), "lr-scale");
    if (std::none_of(matching.begin(), matching.end(), [](const Parameter* p) { return p->trainable; })) {
      raise<ValueError>("lr-scale: the parameters of ", quote(scale), " are frozen; leave it out");
    }
    for (Parameter* parameter : matching) parameter->lr_scale = *factor;
  }
  std::int64_t scaled = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].trainable && parameters[i].lr_scale != 1) scaled += parameters[i].shape.numel();
  }
  return scaled;
}

}  // namespace mixgrad
