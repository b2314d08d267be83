// Which shapes the fourth implementation of the CUDA kernels (attention_warpgroup.cuh) takes, and its launches. Its
// code needs compute capability 9.0a, so it is a file of its own that is compiled for this target alone.
#pragma once

#include "ops/attention/attention_sizes.cuh"

namespace mixgrad::cuda::warpgroup {

// Is the code for this device in this build?
bool available(Device device);

// Narrower heads would fill half of a tile: their third implementation is as quick (H200, heads of 32: 0.97 to 1.05 of
// its time forward, 0.95 to 1.14 backward).
inline bool takes(const AttentionSizes& s) {
  return s.head_dim > kAttentionNarrowHead && s.head_dim <= kAttentionTiledWidth;
}

void forward(Device device, const AttentionSizes& s, const AttentionRows<bf16>& rows);
void backward(Device device, const AttentionSizes& s, const AttentionGradient<bf16>& g);

}  // namespace mixgrad::cuda::warpgroup
