// Chunks of 16 bytes (launch.cuh) that stay in registers as they lie in memory until their elements are needed.
//
//   Raw ahead = raw(row + c);                          // a load
//   sum += element<bf16>(ahead, 3) * weight;           // its fourth element
#pragma once

#include <type_traits>

#include "core/cuda/launch.cuh"

namespace mixgrad::cuda {

// 16 bytes as they lie in memory: four registers. As a Chunk of bf16 the compiler gives each element one of its own,
// and where a kernel has many of them in flight it ran out of registers.
using Raw = uint4;

__device__ inline const Raw& raw(const void* chunk) { return *static_cast<const Raw*>(chunk); }

// The element of type In with this index within a chunk.
template <class In>
__device__ float element(const Raw& chunk, int index) {
  const unsigned words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
  if constexpr (std::is_same_v<In, bf16>) {
    const unsigned word = words[index / 2];
    return __uint_as_float(index % 2 == 0 ? word << 16U : word & 0xffff0000U);
  } else {
    static_assert(std::is_same_v<In, float>);
    return __uint_as_float(words[index]);
  }
}

}  // namespace mixgrad::cuda
