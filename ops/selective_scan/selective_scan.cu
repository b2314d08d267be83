// Three implementations of the same formulas, each tested against the one before it. The shape alone chooses
// (implementation_of):
//   naive       a thread a channel, its states in device memory: any number of states; also what
//   ScanImplementation::sequential
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
// Segments double the work, so they pay while the blocks of the registers implementation leave multiprocessors idle.
constexpr std::int64_t kFewestSegmentedTokens = kScanSegmentedTokens;
constexpr std::int64_t kMostSegmentedBlocks = 64;

DeviceScanImplementation implementation_of(const ScanInputs& in) {
  const std::int64_t blocks = in.x.dim(0) * in.x.dim(2) * registers::groups_of(in.x.dim(3), in.a_log.dim(2));
  if (!registers::takes_states(in.a_log.dim(2)) || blocks > kMostBlocks) return DeviceScanImplementation::naive;
  const bool idle = in.x.dim(1) >= kFewestSegmentedTokens && blocks <= kMostSegmentedBlocks;
  return idle ? DeviceScanImplementation::segments : DeviceScanImplementation::registers;
}

DeviceScanImplementation highest_of(ScanImplementation implementation) {
  return implementation == ScanImplementation::sequential ? DeviceScanImplementation::naive
                                                          : DeviceScanImplementation::segments;
}

}  // namespace

DeviceScanImplementation selective_scan_forward(DeviceScanImplementation highest, const ScanInputs& in,
                                                const Tensor& state, const Tensor& saved, const Tensor& y) {
  const DeviceScanImplementation implementation = std::min(highest, implementation_of(in));
  dispatch_float(in.x.dtype(), "selective_scan", [&]<class T>() {
    switch (implementation) {
      case DeviceScanImplementation::naive: return naive_scan::forward<T>(in, state, saved, y);
      case DeviceScanImplementation::registers: return registers::forward<T>(in, state, saved, y);
      case DeviceScanImplementation::segments: return segments::forward<T>(in, state, saved, y);
    }
  });
  return implementation;
}

DeviceScanImplementation selective_scan_backward(DeviceScanImplementation highest, const ScanInputs& in,
                                                 const Tensor& saved, const Tensor& dy, const ScanTargets& out) {
  const DeviceScanImplementation implementation =
      std::min({highest, implementation_of(in), DeviceScanImplementation::registers});
  dispatch_float(in.x.dtype(), "selective_scan", [&]<class T>() {
    if (implementation == DeviceScanImplementation::naive) return naive_scan::backward<T>(in, saved, dy, out);
    registers::backward<T>(in, saved, dy, out);
  });
  return implementation;
}

void selective_scan_forward(const ScanInputs& in, ScanImplementation implementation, const Tensor& state,
                            const Tensor& saved, const Tensor& y) {
  selective_scan_forward(highest_of(implementation), in, state, saved, y);
}

void selective_scan_backward(const ScanInputs& in, ScanImplementation implementation, const Tensor& saved,
                             const Tensor& dy, const ScanTargets& out) {
  selective_scan_backward(highest_of(implementation), in, saved, dy, out);
}

}  // namespace mixgrad::cuda
