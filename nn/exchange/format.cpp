#include "nn/exchange/format.h"

#include <algorithm>

#include "core/error.h"
#include "core/text/suggest.h"

namespace mixgrad {

const std::vector<ExchangeFormat>& exchange_formats() {
  static const std::vector<ExchangeFormat> formats{
#define FORMAT(name) built_in::name##_format(),
#include "nn/exchange/formats.def"
#undef FORMAT
  };
  return formats;
}

std::vector<std::string> exchange_format_names() {
  std::vector<std::string> names;
  for (const ExchangeFormat& format : exchange_formats()) names.push_back(format.name);
  return names;
}

const ExchangeFormat& exchange_format(const std::string& name) {
  const std::vector<ExchangeFormat>& formats = exchange_formats();
  const auto found =
      std::find_if(formats.begin(), formats.end(), [&](const ExchangeFormat& f) { return f.name == name; });
  if (found == formats.end()) {
    raise<ValueError>("the format must be one of ", join(exchange_format_names()), "; got ", quote(name), "; ",
                      did_you_mean(name, exchange_format_names()), "choose one of them");
  }
  return *found;
}

}  // namespace mixgrad
