// config.json; what is accepted must be written and read back as the same.
#include "nn/config/model_config.h"

#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  const ModelConfig config = parse_model_config(text, "fuzz");
  MIXGRAD_ASSERT(parse_model_config(to_json(config), "again") == config, "a configuration is read back as it was");
}

}  // namespace mixgrad
