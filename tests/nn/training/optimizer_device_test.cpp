// The kernels of optimizers on a CUDA device against those of the CPU: through --device check, and by their results.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>

#include "core/build.h"
#include "core/dispatch/device_check.h"
#include "nn/training/optimizers/adamw.h"
#include "nn/training/optimizers/registry.h"
#include "ops/cases/cases.h"
#include "tests/support/close.h"
#include "tests/support/device.h"

namespace mixgrad::test {
namespace {

// A parameter of more than one block, one of a few elements, and a frozen one.
struct Three {
  ParameterSet parameters;
  explicit Three(DType dtype, Device device) {
    parameters.add("large", {3, 7001}, Init::normal(0.5), true);
    parameters.add("small", {5}, Init::constant(1), false);
    parameters.add("frozen", {70}, Init::normal(1), true);
    parameters.allocate(dtype, device);
    parameters.initialize(3);
    parameters[2].trainable = false;
  }
  Gradients gradients(std::uint64_t seed) const {
    Gradients g = parameters.new_gradients();
    g.mark_all_arrived();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      g.of(i).copy_from(random_tensor(parameters[i].shape, seed + i).to(g.flat().dtype()).to(parameters.device()));
    }
    return g;
  }
};

void run_checked(const std::string& name, DType dtype, Device device) {
  INFO(name << " " << std::string(dtype_name(dtype)));
  Three there(dtype, device);
  Three here(dtype, kCpu);
  const auto on_device = make_optimizer({.name = name, .values = {}}, there.parameters);
  const auto on_host = make_optimizer({.name = name, .values = {}}, here.parameters);
  const double tolerance = dtype == DType::f64 ? 1e-9 : 1e-4;
  for (std::uint64_t t = 0; t < 4; ++t) {
    const double a = on_device->step(there.gradients(10 * t), 0.01);
    const double b = on_host->step(here.gradients(10 * t), 0.01);
    CHECK(std::abs(a - b) <= tolerance * b);
  }
  CHECK(on_device->steps() == 4);
  CHECK(not_close(there.parameters.master().to(kCpu), here.parameters.master(), tolerance) == kHolds);
  const std::vector<NamedTensor> got = on_device->state();
  const std::vector<NamedTensor> want = on_host->state();
  REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    CHECK(got[i].name == want[i].name);
    CHECK(not_close(got[i].tensor.to(kCpu), want[i].tensor, tolerance) == kHolds);
  }
  const Tensor before = there.parameters.master().clone();
  Gradients bad = there.gradients(1);
  bad.of(0).set(20000, std::numeric_limits<double>::quiet_NaN());
  CHECK_FALSE(std::isfinite(on_device->step(bad, 0.01)));
  CHECK(there.parameters.master().equal_bits(before));
  CHECK(on_device->steps() == 4);
}

TEST_CASE("optimizers: every one of the list steps as on the CPU, each kernel compared") {
  const Device device = test_device();
  if (!device.is_cuda()) std::fputs("ABSENT: the comparison of devices needs MIXGRAD_DEVICE=cuda\n", stderr);
  const ContextScope scope({.check_devices = device.is_cuda()});
  const std::vector<std::string> listed{
#define OPTIMIZER(name) #name,
#include "nn/training/optimizers/optimizers.def"
#undef OPTIMIZER
  };
  for (const std::string& name : listed) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) run_checked(name, dtype, device);
  }
}

// On the host the two kernels are one, so that a wrong one can be planted.
TEST_CASE("optimizers: the comparison of devices sees a wrong update, a wrong norm and a wrong count") {
  Three p(DType::f32, kCpu);
  const Tensor progress = Tensor::zeros({StepProgress::kNumbers}, DType::f64);
  const auto one = std::bit_cast<std::int32_t>(1.0F);
  const Tensor blocks = Tensor::from_i32(std::vector<std::int32_t>{0, 16384, 3, one, 1024, 4619, 3, one}, {2, 4});
  const Tensor sums = Tensor::zeros({2}, DType::f64);
  const Gradients g = p.gradients(1);
  cpu::square_sums(g.flat(), blocks, sums);
  const auto said = [&](const auto& wrong) {
    const Tensor own = progress.clone();
    const auto on_device = [&](const auto&... given) {
      cpu::begin_step(given...);
      wrong(own);
    };
    const auto on_host = [](const auto&... given) { cpu::begin_step(given...); };
    return error_text<DeviceMismatch>(
        [&] { check_kernel("begin_step", "sums, clip, progress", on_device, on_host, sums, 1.0, own); });
  };
  const auto at = [](const double StepProgress::*member) {
    const StepProgress origin;
    return &(origin.*member) - &origin.learning_rate;
  };
  CHECK(said([&](const Tensor& own) {
          own.set(at(&StepProgress::norm), own.at(at(&StepProgress::norm)) * 1.001);
        }).find("argument 3 (progress) f64 [6] differs in 1 of 6 elements, most in element 2") != std::string::npos);
  CHECK(said([&](const Tensor& own) {
          own.set(at(&StepProgress::steps), 2);
        }).find("most in element 4: 2 there, 1 on the CPU") != std::string::npos);

  const auto update_says = [&](const Tensor& first) {
    const AdamWConstants constants{0.9, 0.95, 1e-8, 0.1};
    const Tensor scalars = Tensor::zeros({AdamWScalars::kNumbers}, DType::f64);
    cpu::begin_step(sums, 1.0, progress);
    const AdamWBuffers buffers{p.parameters.master(), first, Tensor::zeros(first.shape(), DType::f32), {}};
    const auto wrong = [&](const auto&... given) {
      cpu::adamw_update(given...);
      first.set(17000, first.at(17000) * 1.01 + 1);
    };
    const auto right = [](const auto&... given) { cpu::adamw_update(given...); };
    return error_text<DeviceMismatch>([&] {
      check_kernel("adamw_update", "gradient, blocks, constants, progress, scalars, buffers", wrong, right, g.flat(),
                   blocks, constants, progress, scalars, buffers);
    });
  };
  const std::string text = update_says(Tensor::zeros(p.parameters.master().shape(), DType::f32));
  INFO(text);
  CHECK(text.find("argument 6 (buffers) f32") != std::string::npos);
  CHECK(text.find("most in element 17000") != std::string::npos);
}

}  // namespace
}  // namespace mixgrad::test
