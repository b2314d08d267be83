// Asynchronous copies from global into shared memory (cp.async). Below compute capability 8.0 they are plain copies.
#pragma once

#include "core/cuda/tensor_core.cuh"

namespace mixgrad::cuda {

// 16 bytes, both addresses aligned to them; zeros when `there` is false.
__device__ inline void copy_chunk(void* to, const void* from, bool there) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(there ? 16 : 0)
               : "memory");
#else
  *static_cast<uint4*>(to) = there ? *static_cast<const uint4*>(from) : uint4{};
#endif
}

__device__ inline void copy_float(float* to, const float* from, bool there) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(there ? 4 : 0)
               : "memory");
#else
  *to = there ? *from : 0.0F;
#endif
}

// Closes the group of copies issued since the last call.
__device__ inline void commit_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Until at most kOpen groups are under way. The block must synchronize after it.
template <int kOpen>
__device__ void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kOpen) : "memory");
#endif
}

}  // namespace mixgrad::cuda
