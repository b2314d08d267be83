// Where in its sequence the first token of a call stands: the number of tokens before it. What decodes a sequence piece
// by piece takes it.
#pragma once

#include <cstdint>

#include "core/numeric/vec_math.h"

namespace mixgrad {

// A decoding step that is captured as a CUDA graph runs again for later tokens, so its kernels cannot be given a number
// of the host: when `device` is set they read the position there, in memory of the device. `host` is then the position
// of the token at hand while the graph is captured: for checks, not for kernels.
struct TokenPosition {
  std::int64_t host = 0;
  const std::int64_t* device = nullptr;

  TokenPosition(std::int64_t on_host = 0,
                const std::int64_t* on_device = nullptr)  // NOLINT(google-explicit-constructor)
      : host(on_host), device(on_device) {}
  // For kernels of a CUDA device; those of the CPU take `host`.
  MIXGRAD_HD std::int64_t value() const { return device == nullptr ? host : *device; }
};

}  // namespace mixgrad
