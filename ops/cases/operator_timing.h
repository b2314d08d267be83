// How long an operator takes at given sizes, forward and backward by themselves, beside its bytes and operations. For
// operators of this library and of any other program:
//
//   const OperatorCases entry{&square_spec, square_cases, square_bench};
//   BenchSizes sizes = bench_sizes(entry);
//   sizes.set("B", 32);
//   const OperatorTiming timing = time_operator(entry, sizes, {.dtype = DType::bf16, .device = parse_device("cuda")});
//   std::printf("%.3f ms, %.0f GB/s\n", 1e3 * timing.forward.median(), timing.forward.bytes_per_s() / 1e9);
//
// The operator stands in the middle of a tape, as in a model: its activations come from operators before it and its
// output gradients from operators after it, which take no time. On a CUDA device the calls are captured as one graph
// and timed by events in it, so that the host's launches are not in the time; on the CPU by the clock. The values are
// random. Small inputs stay in the caches from one call to the next.
#pragma once

#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "ops/cases/bench.h"
#include "ops/cases/cases.h"

namespace mixgrad::test {

struct TimingOptions {
  DType dtype = DType::f32;
  Device device = kCpu;
  int rounds = 20;  // timed, after three untimed ones
};

struct TimedPass {
  std::vector<double> seconds;  // of one call, one value a round, ascending
  double bytes = 0;             // as ops/cases/bench.h counts them
  double operations = 0;

  double median() const { return seconds[seconds.size() / 2]; }
  double fastest() const { return seconds.front(); }
  double slowest() const { return seconds.back(); }
  double bytes_per_s() const { return bytes / median(); }
  double operations_per_s() const { return operations / median(); }
};

struct OperatorTiming {
  TimedPass forward, backward;
  TimedPass both;  // forward and backward of the same round
  int calls = 1;   // of a round, one after the other: more than one for small inputs
};

// ValueError, naming the part, when the operator has no bench or its bench lacks one.
OpBench bench_of(const OperatorCases& entry);

// The sizes of an operator with their defaults.
BenchSizes bench_sizes(const OperatorCases& entry);

// Under the context of the caller (threads, precision of products).
OperatorTiming time_operator(const OperatorCases& entry, const BenchSizes& sizes, const TimingOptions& options);

// What the device reaches: bytes of a large copy (read and written), operations of a large matrix product in this dtype
// under the context of the caller.
struct Ceilings {
  double bytes_per_s = 0;
  double operations_per_s = 0;
};
Ceilings measure_ceilings(DType dtype, Device device);

}  // namespace mixgrad::test
