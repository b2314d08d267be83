// The choice between the kernels of the CPU and of a CUDA device, and the declaration of both. Operators, optimizers
// and the accumulation of gradients all go through it, so that --device check compares all of them
// (core/dispatch/device_check.h).
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/dispatch/device_check.h"

namespace mixgrad {

// DeviceError: this build, or this operator, has no CUDA kernels.
[[noreturn]] void raise_no_cuda(const char* op);

// For tests: calls of CPU kernels in this thread. A step on a CUDA device makes none.
inline thread_local std::int64_t cpu_kernel_calls = 0;

}  // namespace mixgrad

// MIXGRAD_KERNELS(void f(const Tensor& x, const Tensor& y);) declares cpu::f and cuda::f.
#define MIXGRAD_KERNELS(...) \
  namespace mixgrad::cpu {   \
  __VA_ARGS__                \
  }                          \
  namespace mixgrad::cuda {  \
  __VA_ARGS__                \
  }

// MIXGRAD_DISPATCH_IF(built, x.device(), f, x, y) calls cpu::f(x, y) or cuda::f(x, y), or both where devices are
// compared. `built` is a constant, true where cuda::f exists: build::has_cuda, or what the build says of an operator's
// folder (ops/support/dispatch.h). A discarded branch needs no definition.
#define MIXGRAD_DISPATCH_IF(built, device, kernel, ...)                                      \
  do {                                                                                       \
    if ((device).is_cuda()) {                                                                \
      if constexpr (built) {                                                                 \
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
