// The TOML subset of --config.
#include "apps/config_file.h"

#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  for (const app::ConfigEntry& entry : app::parse_config(std::string(text), "fuzz", "train")) {
    MIXGRAD_ASSERT(!entry.key.empty() && entry.line > 0, "an entry has a key and a line");
  }
}

}  // namespace mixgrad
