// The one place per operator that chooses a device, and the declaration of its kernels for both.
#pragma once

#include "core/device.h"
#include "core/error.h"

namespace mixgrad {

[[noreturn]] inline void raise_no_cuda(const char* op) {
  raise<DeviceError>(op, ": the tensors are on cuda, but this build has no CUDA kernels; build with --preset cuda");
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

// MIXGRAD_DISPATCH(x.device(), f(x, y)) calls cpu::f or cuda::f. A discarded branch needs no definition.
#define MIXGRAD_DISPATCH(device, call)            \
  do {                                            \
    if ((device).is_cuda()) {                     \
      if constexpr (::mixgrad::build::has_cuda) { \
        cuda::call;                               \
      } else {                                    \
        ::mixgrad::raise_no_cuda(#call);          \
      }                                           \
    } else {                                      \
      cpu::call;                                  \
    }                                             \
  } while (false)
