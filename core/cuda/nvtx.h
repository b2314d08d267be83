// Named ranges that Nsight Systems shows (NVTX). Without a profiler they cost some nanoseconds. As core/cuda/cuda.h,
// defined in builds with build::has_cuda only.
#pragma once

namespace mixgrad::cuda {

void begin_range(const char* name);  // in this thread, within those that are open
void end_range();                    // the newest

}  // namespace mixgrad::cuda
