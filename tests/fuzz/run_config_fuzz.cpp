// The TOML subset of --config, and its values as the options take them.
#include "apps/options/config_file.h"
#include "apps/options/option_value.h"
#include "tests/fuzz/fuzz.h"

namespace mixgrad {
namespace {

template <class Take>
void try_value(const Take& take) {
  try {
    take();
  } catch (const ValueError&) {
  }
}

}  // namespace

void fuzz_one(std::string_view text) {
  for (const app::ConfigEntry& entry : app::parse_config(std::string(text), "fuzz", "train")) {
    MIXGRAD_ASSERT(!entry.key.empty() && entry.line > 0, "an entry has a key and a line");
    const std::string& value = entry.value;
    if (entry.type == app::ConfigEntry::Type::text) {
      const auto again = app::parse_config("k = " + app::quoted_toml(value), "again", "train");
      MIXGRAD_ASSERT(again.size() == 1 && again[0].value == value, "a text is read back as it was");
      try_value([&] { app::parse_word("k", value, {"learned", "rope", "none"}); });
      continue;
    }
    try_value([&] { app::parse_integer("k", value, app::kCount); });
    try_value([&] { app::parse_unsigned("k", value); });
    try_value([&] { app::parse_switch("k", value); });
    try_value([&] {
      const double number = app::parse_real("k", value, {.low = -1e300});
      MIXGRAD_ASSERT(app::parse_real("k", app::number_text(number), {.low = -1e300}) == number,
                     "a number is read back as it was");
    });
  }
}

}  // namespace mixgrad
