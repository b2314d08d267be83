#include "core/cuda/nvtx.h"

#include <nvtx3/nvToolsExt.h>

namespace mixgrad::cuda {

void begin_range(const char* name) { nvtxRangePushA(name); }
void end_range() { nvtxRangePop(); }

}  // namespace mixgrad::cuda
