// The paths by which a token reaches a later one through a stack of shift-mixing layers, one by one (their sums are
// hsm_paths). In each layer a path either stays at its token, times 1 + a, or jumps s tokens ahead, times b:
//   weight = product over the layers of (1 + a_l, or b_l where it jumps);   lag = sum of s_l over the jumps
// without norms and MLPs, which are between the layers. Channels keep their head, so there are paths of each head.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "nn/model/decoder.h"

namespace mixgrad {

struct ShiftPath {
  std::vector<std::int64_t> jumps;  // the layers in which it jumps, ascending
  std::int64_t lag = 0;             // tokens from its start to its end
  std::optional<double> weight;     // mean over the channels of the head; none where a layer has other parameters
};

struct HeadPaths {
  std::int64_t head = 0;
  std::vector<ShiftPath> paths;  // by lag, those with fewer jumps first; the path that never jumps included
  bool complete = true;          // false: there are more than kMostShiftPaths, and those with most jumps are left out
};

inline constexpr std::size_t kMostShiftPaths = 4096;  // of a head

// For each head its paths of a lag up to `lags`. Empty for a model without shift-mixing layers, and for one whose
// shift-mixing layers have different numbers of heads.
std::vector<HeadPaths> shift_paths(const Decoder& model, std::int64_t lags);

}  // namespace mixgrad
