// What a model costs to decode, by the tokens that it has seen: time on one thread, and the bytes of its state,
// measured and by the formulas of its layers.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/model/decoder.h"

namespace mixgrad::app {

struct DecodingCost {
  std::int64_t tokens = 0;  // before the timed ones
  double prefill_ms = 0;    // of all of them at once, the faster of two
  double us_per_token = 0;  // the fastest of the tokens after them: other work on the machine only adds
  std::size_t state_bytes = 0, formula_bytes = 0;
  std::size_t peak_bytes = 0;  // of tensors during prefill, without the parameters
};

// A model of this configuration with initial weights, whose context is as long as needed: time and memory do not depend
// on the weights.
std::vector<DecodingCost> decoding_costs(const ModelConfig& config, const std::vector<std::int64_t>& lengths);

}  // namespace mixgrad::app
