// Three rungs of the same formulas, each tested against the one before it. The shape alone chooses (rung_of):
//   naive       a thread a channel, its states in device memory: any number of states; also what ScanRung::sequential
//               asks for
//   registers   4, 8 or 16 states: in registers, chunks of 16 tokens through shared memory; sequential in time
//   segments    the same in parallel over 64 tokens each, for long sequences of few channels; forward only
#include <algorithm>

#include "core/cuda/launch.cuh"
#include "ops/selective_scan/selective_scan_kernels.h"
#include "ops/selective_scan/selective_scan_naive.cuh"
#include "ops/selective_scan/selective_scan_registers.cuh"
#include "ops/selective_scan/selective_scan_registers_backward.cuh"
#include "ops/selective_scan/selective_scan_segments.cuh"

namespace mixgrad::cuda {
namespace {

constexpr std::int64_t kMostBlocks = 0x7fffffff;  // of a launch
// Segments double the work, so they pay while the blocks of the registers rung leave multiprocessors idle.
constexpr std::int64_t kFewestSegmentedTokens = 512;
constexpr std::int64_t kMostSegmentedBlocks = 64;

DeviceScanRung rung_of(const ScanInputs& in) {
  const std::int64_t blocks = in.x.dim(0) * in.x.dim(2) * registers::groups_of(in.x.dim(3));
  if (!registers::takes_states(in.a_log.dim(2)) || blocks > kMostBlocks) return DeviceScanRung::naive;
  const bool idle = in.x.dim(1) >= kFewestSegmentedTokens && blocks <= kMostSegmentedBlocks;
  return idle ? DeviceScanRung::segments : DeviceScanRung::registers;
}

DeviceScanRung highest_of(ScanRung rung) {
  return rung == ScanRung::sequential ? DeviceScanRung::naive : DeviceScanRung::segments;
}

}  // namespace

DeviceScanRung selective_scan_forward(DeviceScanRung highest, const ScanInputs& in, const Tensor& state,
                                      const Tensor& saved, const Tensor& y) {
  const DeviceScanRung rung = std::min(highest, rung_of(in));
  dispatch_float(in.x.dtype(), "selective_scan", [&]<class T>() {
    switch (rung) {
      case DeviceScanRung::naive: return naive_scan::forward<T>(in, state, saved, y);
      case DeviceScanRung::registers: return registers::forward<T>(in, state, saved, y);
      case DeviceScanRung::segments: return segments::forward<T>(in, state, saved, y);
    }
  });
  return rung;
}

DeviceScanRung selective_scan_backward(DeviceScanRung highest, const ScanInputs& in, const Tensor& saved,
                                       const Tensor& dy, const ScanTargets& out) {
  const DeviceScanRung rung = std::min({highest, rung_of(in), DeviceScanRung::registers});
  dispatch_float(in.x.dtype(), "selective_scan", [&]<class T>() {
    if (rung == DeviceScanRung::naive) return naive_scan::backward<T>(in, saved, dy, out);
    registers::backward<T>(in, saved, dy, out);
  });
  return rung;
}

void selective_scan_forward(const ScanInputs& in, ScanRung rung, const Tensor& state, const Tensor& saved,
                            const Tensor& y) {
  selective_scan_forward(highest_of(rung), in, state, saved, y);
}

void selective_scan_backward(const ScanInputs& in, ScanRung rung, const Tensor& saved, const Tensor& dy,
                             const ScanTargets& out) {
  selective_scan_backward(highest_of(rung), in, saved, dy, out);
}

}  // namespace mixgrad::cuda
