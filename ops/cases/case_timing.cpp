#include "ops/cases/case_timing.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "autograd/tape.h"
#include "core/build.h"
#include "core/cuda/cuda.h"
#include "ops/cases/case_gradients.h"

namespace mixgrad::test {
namespace {

// Seconds since an arbitrary moment, when all work of the device is done.
double now(Device device) {
  if constexpr (build::has_cuda) {
    if (device.is_cuda()) cuda::synchronize(device);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

CaseTiming time_case(const OpCase& c, DType dtype, Device device, double seconds) {
  std::vector<Tensor> inputs = inputs_as(c, dtype);
  bool differentiable = false;
  for (Tensor& input : inputs) {
    if (input.defined()) input = input.to(device);
    differentiable = differentiable || takes_gradient(input);
  }
  constexpr double kNever = std::numeric_limits<double>::infinity();
  CaseTiming timing{kNever, differentiable ? kNever : 0, 0};
  const double end = now(device) + seconds;
  for (int run = 0; run < 4 || now(device) < end; ++run) {
    Tape tape;
    for (Tensor& input : inputs) {
      if (takes_gradient(input)) tape.watch(input);
    }
    const double start = now(device);
    const std::vector<Tensor> outputs = c.run(inputs);
    const double middle = now(device);
    if (run > 0) timing.forward_s = std::min(timing.forward_s, middle - start);
    if (run > 0) ++timing.runs;
    if (!differentiable) continue;
    std::vector<Tape::Seed> seeds;
    for (const Tensor& output : outputs) {
      if (tracked(output)) seeds.push_back({output, Tensor::full(output.shape(), output.dtype(), 1, device)});
    }
    const std::vector<Shape> shapes = tape.leaf_shapes();
    Gradients gradients(shapes, accumulation_dtype(dtype), device);
    const double begin = now(device);
    std::move(tape).backward(seeds, gradients);
    if (run > 0) timing.backward_s = std::min(timing.backward_s, now(device) - begin);
  }
  return timing;
}

}  // namespace mixgrad::test
