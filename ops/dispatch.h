// The one place per operator that chooses a device, and the declaration of its kernels for both.
#pragma once

#include <cstdint>

#include "core/device.h"
#include "core/error.h"

namespace mixgrad {

[[noreturn]] inline void raise_no_cuda(const char* op) {
  raise<DeviceError>(op, ": the tensors are on cuda, but ",
                     build::has_cuda ? "this operator has no CUDA kernels yet; use --device cpu"
                                     : "this build has no CUDA kernels; build with --preset cuda");
}

}  // namespace mixgrad

// MIXGRAD_KERNELS(void f(const Tensor& x, const Tensor& y);) declares cpu::f and cuda::f.
#define MIXGRAD_KERNELS(...) \
  namespace mixgrad::cpu {   \
  __VA_ARGS__                \
  }                          \
  namespace mixgrad::cuda {  \
  __VA_ARGS__                \
  }

// Has this operator's folder CUDA kernels in this build? The build says so for each folder with a .cu file.
#if !defined(MIXGRAD_FOLDER_HAS_CUDA)
#define MIXGRAD_FOLDER_HAS_CUDA false
#endif

namespace mixgrad {
// For tests: calls of CPU kernels in this thread. A step on a CUDA device makes none.
inline thread_local std::int64_t cpu_kernel_calls = 0;
}  // namespace mixgrad

// MIXGRAD_DISPATCH(x.device(), f(x, y)) calls cpu::f or cuda::f. A discarded branch needs no definition.
#define MIXGRAD_DISPATCH(device, call)         \
  do {                                         \
    if ((device).is_cuda()) {                  \
      if constexpr (MIXGRAD_FOLDER_HAS_CUDA) { \
        cuda::call;                            \
      } else {                                 \
        ::mixgrad::raise_no_cuda(#call);       \
      }                                        \
    } else {                                   \
      ++::mixgrad::cpu_kernel_calls;           \
      cpu::call;                               \
    }                                          \
  } while (false)
