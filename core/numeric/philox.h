// Philox4x32-10 (Salmon et al., SC11) as a function of (seed, counter), the same bits on the host and on a CUDA device.
// core/rng.h draws with it on the host; kernels call it for the counters that belong to their elements, so that what is
// drawn depends neither on the launch nor on the order.
//
//   const RandomBits bits = random_bits(seed, counter + i);   // 128 bits for element i
#pragma once

// Random123 lists the processors on which it was tested. WebAssembly is none of them; it takes the same plain code as
// this one.
#if defined(__wasm__)
#define __riscv
#endif
#include <Random123/philox.h>
#if defined(__wasm__)
#undef __riscv
#endif

#include <cstdint>

#include "core/numeric/vec_math.h"

namespace mixgrad {

struct RandomBits {
  std::uint32_t words[4];

  MIXGRAD_HD std::uint64_t first64() const { return static_cast<std::uint64_t>(words[0]) << 32U | words[1]; }
  MIXGRAD_HD std::uint64_t second64() const { return static_cast<std::uint64_t>(words[2]) << 32U | words[3]; }
};

// `stream` is the upper half of the counter; 0 is that of Rng (core/rng.h).
inline MIXGRAD_HD RandomBits random_bits(std::uint64_t seed, std::uint64_t counter, std::uint64_t stream = 0) {
  r123::Philox4x32 philox;
  const r123::Philox4x32::ctr_type at = {
      {static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32U),
       static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32U)}};
  const r123::Philox4x32::key_type key = {{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32U)}};
  const auto bits = philox(at, key);
  return {{bits[0], bits[1], bits[2], bits[3]}};
}

// In [0, 1): the upper 53 bits.
inline MIXGRAD_HD double unit_interval(std::uint64_t bits) { return static_cast<double>(bits >> 11U) * 0x1p-53; }

}  // namespace mixgrad
