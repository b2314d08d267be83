// A shift-mixing model of one layer, its parameters counted.
#include "mixgrad/mixgrad.h"

#include <cstdio>

int main() {
  mixgrad::ModelConfig config{.vocab_size = 65, .context = 16, .d_model = 32, .d_ff = 64};
  config.layers = mixgrad::expand_mixer_pattern("hsm:scalar", {.layers = 1, .context = 16, .d_model = 32});
  const mixgrad::Decoder model(config, mixgrad::DType::f32);
  std::printf("%lld parameters\n", static_cast<long long>(model.parameters().count()));
}
