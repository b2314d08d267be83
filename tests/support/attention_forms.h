// What the tests of attention share: sizes, and how close each precision comes.
#pragma once

#include <vector>

#include "core/tensor.h"
#include "ops/attention/attention.h"

namespace mixgrad::test {

struct AttentionPrecision {
  DType dtype;
  double tolerance;
};
inline const std::vector<AttentionPrecision> kAttentionPrecisions{
    {DType::f64, 1e-12}, {DType::f32, 2e-5}, {DType::bf16, 3e-2}};

// The queries are the last `time` of the keys; dh is the width of a head.
struct AttentionForm {
  std::int64_t batch, time, keys, dh;
  AttentionOptions options;
};

inline const std::vector<AttentionForm> kAttentionForms{
    {1, 1, 1, 1, {}},
    {2, 1, 17, 3, {.heads = 4, .kv_heads = 2}},
    {2, 5, 5, 3, {.heads = 3, .kv_heads = 1}},
    {1, 4, 9, 5, {.heads = 2, .kv_heads = 2, .window = 3}},
    {1, 1, 150, 2, {.heads = 2, .kv_heads = 1, .window = 33}},
    {2, 70, 150, 2, {.heads = 2, .kv_heads = 1}},
};

}  // namespace mixgrad::test
