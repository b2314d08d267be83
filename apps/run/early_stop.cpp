#include "apps/run/early_stop.h"

#include <sstream>

#include "apps/options/option_value.h"
#include "core/error.h"
#include "core/text/suggest.h"

namespace mixgrad::app {

EarlyStop parse_early_stop(const std::string& text) {
  EarlyStop stop;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    const std::string key = part.substr(0, part.find('='));
    const std::string value = part.size() > key.size() ? part.substr(key.size() + 1) : "";
    if (key == "patience") {
      stop.patience = parse_integer("--early-stop patience", value, kCount);
    } else if (key == "min-delta") {
      stop.min_delta = parse_real("--early-stop min-delta", value, {});
    } else {
      raise<ValueError>("--early-stop must be patience=COUNT or patience=COUNT,min-delta=NUMBER; got ", quote(key),
                        "; ", did_you_mean(key, {"patience", "min-delta"}),
                        "write for example patience=5,min-delta=0.001");
    }
  }
  if (!text.empty() && stop.patience == 0) {
    raise<ValueError>("--early-stop needs patience=COUNT; got ", quote(text), "; add it");
  }
  return stop;
}

}  // namespace mixgrad::app
