// The one place per operator that chooses a device, and the declaration of its kernels for both.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "ops/support/device_check.h"

namespace mixgrad {

// DeviceError: this build, or this operator, has no CUDA kernels.
[[noreturn]] void raise_no_cuda(const char* op);

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

// MIXGRAD_DISPATCH(x.device(), f, x, y) calls cpu::f(x, y) or cuda::f(x, y), or in --device check both. A discarded
// branch needs no definition.
#define MIXGRAD_DISPATCH(device, kernel, ...)                                                \
  do {                                                                                       \
    if ((device).is_cuda()) {                                                                \
      if constexpr (MIXGRAD_FOLDER_HAS_CUDA) {                                               \
        if (::mixgrad::context().check_devices) {                                            \
          ::mixgrad::check_kernel(                                                           \
              #kernel, #__VA_ARGS__, [](const auto&... given_) { cuda::kernel(given_...); }, \
              [](const auto&... given_) { cpu::kernel(given_...); }, __VA_ARGS__);           \
        } else {                                                                             \
          cuda::kernel(__VA_ARGS__);                                                         \
        }                                                                                    \
      } else {                                                                               \
        ::mixgrad::raise_no_cuda(#kernel);                                                   \
      }                                                                                      \
    } else {                                                                                 \
      ++::mixgrad::cpu_kernel_calls;                                                         \
      cpu::kernel(__VA_ARGS__);                                                              \
    }                                                                                        \
  } while (false)
