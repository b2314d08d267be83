#include "core/dispatch/dispatch.h"

#include "core/build.h"
#include "core/error.h"

namespace mixgrad {

void raise_no_cuda(const char* op) {
  raise<DeviceError>(op, ": the tensors are on cuda, but ",
                     build::has_cuda ? "this operator has no CUDA kernels yet; use the device cpu"
                                     : "this build has no CUDA kernels; build with cmake --preset cuda");
}

}  // namespace mixgrad
