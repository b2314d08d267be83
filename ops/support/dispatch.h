// The one place per operator that chooses a device: MIXGRAD_DISPATCH in NAME.cpp, for kernels that MIXGRAD_KERNELS in
// NAME_kernels.h declares for both (core/dispatch/dispatch.h).
#pragma once

#include "core/dispatch/dispatch.h"

// Does this operator's folder have CUDA kernels in this build? The build says so for each folder with a .cu file.
#if !defined(MIXGRAD_FOLDER_HAS_CUDA)
#define MIXGRAD_FOLDER_HAS_CUDA false
#endif

// MIXGRAD_DISPATCH(x.device(), f, x, y) calls cpu::f(x, y) or cuda::f(x, y), or in --device check both.
#define MIXGRAD_DISPATCH(device, kernel, ...) MIXGRAD_DISPATCH_IF(MIXGRAD_FOLDER_HAS_CUDA, device, kernel, __VA_ARGS__)
