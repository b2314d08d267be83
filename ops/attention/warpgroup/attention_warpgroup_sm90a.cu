// The launches of the fourth implementation: tensor maps for the copy engine, and the shapes of blocks, which are
// chosen by the sizes alone, so that the order of every sum depends on no device.
//
// H200, bf16, milliseconds of a call, beside the third implementation (`forward`, `backward`):
//   B32 H12 T1024 D64    0.292, 0.884 -> 0.190, 0.570     B64 H6 T256 D64    0.036, 0.113 -> 0.026, 0.091
//   B2 H12 T16384 D64    3.86, 11.2 -> 1.82, 5.60         B16 H8 T2048 D128  0.700, 2.24 -> 0.293, 1.22
// Tried and slower there: the scores of the next tile queued before the weighted sums of this one, forward (0.290 ms
// for the first row); one tile for each block at up to 2,048 tokens (0.245); more tiles for each block at 16,384
// (2.47).
#include <cuda.h>

#include <algorithm>
#include <string>

#include "ops/attention/attention_naive.cuh"
#include "ops/attention/warpgroup/attention_warpgroup.cuh"
#include "ops/attention/warpgroup/attention_warpgroup_keys.cuh"
#include "ops/attention/warpgroup/attention_warpgroup_launch.cuh"
#include "ops/attention/warpgroup/attention_warpgroup_queries.cuh"

namespace mixgrad::cuda::warpgroup {
namespace {

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// A function of the driver, found without linking to its library.
EncodeTiled encode_function() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
  MIXGRAD_CUDA_CALL("attention", cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                                  cudaEnableDefault, &found));
#else
  MIXGRAD_CUDA_CALL("attention",
                    cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found));
#endif
  if (found != cudaDriverEntryPointSuccess) {
    throw DeviceError("attention: the driver of this device knows no cuTensorMapEncodeTiled; update the driver");
  }
  return reinterpret_cast<EncodeTiled>(function);
}

// How the copy engine finds panels of 64 columns and box_rows rows in x [batch, rows, heads * head_dim]. What lies
// outside, beyond head_dim or beyond the rows, is read as zeros.
template <class Rows>
CUtensorMap tensor_map(const Rows& x, std::int64_t batch, std::int64_t rows, std::int64_t heads, int box_rows) {
  static const EncodeTiled encode = encode_function();
  constexpr cuuint64_t kValueBytes = sizeof(bf16);
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(x.head_dim), static_cast<cuuint64_t>(heads),
                              static_cast<cuuint64_t>(rows), static_cast<cuuint64_t>(batch)};
  const cuuint64_t strides[] = {kValueBytes * static_cast<cuuint64_t>(x.head_dim),
                                kValueBytes * static_cast<cuuint64_t>(x.stride),
                                kValueBytes * static_cast<cuuint64_t>(x.per_batch)};
  const cuuint32_t box[] = {kPanelColumns, 1, static_cast<cuuint32_t>(box_rows), 1};
  const cuuint32_t steps[] = {1, 1, 1, 1};
  CUtensorMap map{};
  const CUresult result = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<bf16*>(x.data), sizes, strides,
                                 box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw DeviceError("attention: cuTensorMapEncodeTiled failed with error " + std::to_string(result));
  }
  return map;
}

int multiprocessors(Device device) {
  int count = 0;
  MIXGRAD_CUDA_CALL("attention", cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device.index));
  return count;
}

// Blocks of a launch: each works through several tiles, or, where a sequence has many and they differ most in length,
// through one.
template <class Shape>
std::int64_t blocks_of(Device device, std::int64_t tiles, std::int64_t tiles_of_head) {
  constexpr std::int64_t kTilesTogether = 16;
  return tiles_of_head > kTilesTogether ? tiles
                                        : std::min<std::int64_t>(tiles, multiprocessors(device) * Shape::kBlocks);
}

template <class Shape>
void launch_forward(Device device, const AttentionSizes& s, const AttentionRows<bf16>& rows, float scale) {
  launch_attention(forward_kernel<Shape>, device,
                   blocks_of<Shape>(device, query_tiles(s, Shape::kRows), s.queries / Shape::kRows), Shape::kThreads,
                   Shape::kBytes, s, rows, scale, tensor_map(rows.q, s.batch, s.queries, s.heads, kGroupRows),
                   tensor_map(rows.k, s.batch, s.keys, s.kv_heads, Shape::kKeys),
                   tensor_map(rows.v, s.batch, s.keys, s.kv_heads, Shape::kKeys));
}

template <class Shape>
void launch_query_gradient(Device device, const AttentionSizes& s, const AttentionGradient<bf16>& g, float scale) {
  launch_attention(query_gradient_kernel<Shape>, device,
                   blocks_of<Shape>(device, query_tiles(s, Shape::kRows), s.queries / Shape::kRows), Shape::kThreads,
                   Shape::kBytes, s, g, scale, tensor_map(g.q, s.batch, s.queries, s.heads, kGroupRows),
                   tensor_map(g.dout, s.batch, s.queries, s.heads, kGroupRows),
                   tensor_map(g.k, s.batch, s.keys, s.kv_heads, Shape::kKeys),
                   tensor_map(g.v, s.batch, s.keys, s.kv_heads, Shape::kKeys));
}

template <class Shape>
void launch_key_gradient(Device device, const AttentionSizes& s, const AttentionGradient<bf16>& g, float scale) {
  launch_attention(key_gradient_kernel<Shape>, device,
                   blocks_of<Shape>(device, key_tiles(s, Shape::kRows), s.keys / Shape::kRows), Shape::kThreads,
                   Shape::kBytes, s, g, scale, tensor_map(g.q, s.batch, s.queries, s.heads, Shape::kQueries),
                   tensor_map(g.dout, s.batch, s.queries, s.heads, Shape::kQueries),
                   tensor_map(g.k, s.batch, s.keys, s.kv_heads, kGroupRows),
                   tensor_map(g.v, s.batch, s.keys, s.kv_heads, kGroupRows));
}

float scale_of(const AttentionSizes& s) { return 1.0F / std::sqrt(static_cast<float>(s.head_dim)); }

}  // namespace

bool available(Device device) {
#if defined(MIXGRAD_SM90A_CODE)
  int major = 0;
  int minor = 0;
  MIXGRAD_CUDA_CALL("attention", cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index));
  MIXGRAD_CUDA_CALL("attention", cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device.index));
  return major == 9 && minor == 0;
#else
  static_cast<void>(device);
  return false;
#endif
}

// The numbers: width of a head, warp groups, columns of a tile, stages of the ring, blocks on a multiprocessor.
void forward(Device device, const AttentionSizes& s, const AttentionRows<bf16>& rows) {
  const float scale = scale_of(s);
  if (s.head_dim > 64) return launch_forward<ForwardShape<128, 2, 128, 2, 1>>(device, s, rows, scale);
  if (s.keys <= kAttentionShortKeys) return launch_forward<ForwardShape<64, 1, 64, 3, 3>>(device, s, rows, scale);
  if (s.keys <= kAttentionLongKeys) return launch_forward<ForwardShape<64, 2, 128, 2, 1>>(device, s, rows, scale);
  launch_forward<ForwardShape<64, 3, 128, 2, 1>>(device, s, rows, scale);
}

void backward(Device device, const AttentionSizes& s, const AttentionGradient<bf16>& g) {
  const float scale = scale_of(s);
  if (g.dq.data == nullptr) {
    naive::row_products<bf16>(device, s, g);
  } else if (s.head_dim > 64) {
    launch_query_gradient<QueryGradientShape<128, 2, 64, 2, 1>>(device, s, g, scale);
  } else if (s.keys <= kAttentionLongKeys) {
    launch_query_gradient<QueryGradientShape<64, 2, 64, 4, 1>>(device, s, g, scale);
  } else {
    launch_query_gradient<QueryGradientShape<64, 3, 64, 3, 1>>(device, s, g, scale);
  }
  if (g.dk.data == nullptr && g.dv.data == nullptr) return;
  if (s.head_dim > 64) return launch_key_gradient<KeyGradientShape<128, 2, 64, 2, 1>>(device, s, g, scale);
  launch_key_gradient<KeyGradientShape<64, 2, 64, 4, 1>>(device, s, g, scale);
}

}  // namespace mixgrad::cuda::warpgroup
