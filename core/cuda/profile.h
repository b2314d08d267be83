// What a profiler is to record: `ncu --profile-from-start off` sees only the kernels between these two calls, and not
// those of warm-up and of products that are timed to choose an algorithm. Without a profiler they do nothing.
#pragma once

namespace mixgrad::cuda {

void start_profile();
void stop_profile();

}  // namespace mixgrad::cuda
