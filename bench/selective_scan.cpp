// Times the selective scan of docs/history/performance.md: 8 sequences, 256 tokens, one head of 256 channels, 16
// states, f32.
//   cmake --build --preset cpu --target bench_selective_scan && chrt -f 1 build/cpu/bin/bench_selective_scan [THREADS]
#include "ops/selective_scan/selective_scan.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "apps/output/clock.h"
#include "core/parallel.h"
#include "ops/cases/cases.h"
#include "ops/selective_scan/selective_scan_kernels.h"

namespace mixgrad {
namespace {

double now_ms() { return 1e3 * app::now(); }

Tensor values(const Shape& shape, std::uint64_t seed) { return test::random_tensor(shape, seed).to(DType::f32); }

GradTarget target(const Tensor& like) { return {Tensor::empty(like.shape(), like.dtype()), false}; }

void print(const char* name, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  std::printf("%s: best %.2f ms, median %.2f ms\n", name, times.front(), times[times.size() / 2]);
}

void run() {
  const std::int64_t batch = 8, steps = 256, channels = 256, states = 16;
  const ScanInputs in{values({batch, steps, 1, channels}, 1), values({batch, steps, 1, channels}, 2),
                      values({1, channels, states}, 3),       values({batch, steps, 1, states}, 4),
                      values({batch, steps, 1, states}, 5),   values({1, channels}, 6)};
  const Tensor dy = values(in.x.shape(), 7);
  const Tensor y = Tensor::empty(in.x.shape(), DType::f32);
  const Tensor saved = Tensor::empty({batch, steps / kScanChunk, 1, states, channels}, DType::f32);
  const ScanTargets out{target(in.x), target(in.dt), target(in.a_log), target(in.b), target(in.c), target(in.d)};
  std::vector<double> forward, backward;
  for (int round = 0; round < 60; ++round) {
    const double start = now_ms();
    cpu::selective_scan_forward(in, ScanImplementation::chunked, {}, saved, y);
    const double middle = now_ms();
    cpu::selective_scan_backward(in, ScanImplementation::chunked, saved, dy, out);
    forward.push_back(middle - start);
    backward.push_back(now_ms() - middle);
  }
  print("forward", forward);
  print("backward", backward);
}

}  // namespace
}  // namespace mixgrad

int main(int count, char** arguments) {
  const mixgrad::ContextScope scope({.threads = count > 1 ? std::atoi(arguments[1]) : 0});
  mixgrad::run();
}
