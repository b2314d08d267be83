// --device check: what the comparison of two kernels says, and on a GPU that all of ours agree.
#include "core/dispatch/device_check.h"
#include "core/build.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

#include "core/cuda/cuda.h"
#include "core/matmul_precision.h"
#include "nn/training/optimizers/adamw.h"
#include "nn/training/train_step.h"
#include "ops/selective_scan/selective_scan_kernels.h"
#include "tests/support/cli.h"
#include "tests/support/close.h"
#include "tests/support/model_forms.h"
#include "tests/support/op_support.h"

namespace mixgrad::test {
namespace {

// y = factor x, over rows of any stride; with `add` added.
struct Scale {
  double factor = 1;
  void operator()(const Tensor& x, double more, const GradTarget& y) const {
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      y.tensor.set(i, (y.add ? y.tensor.at(i) : 0) + factor * more * x.at(i));
    }
  }
};

// The message when `on_device` runs against the right kernel, with 3 x; "" when they agree.
template <class Kernel>
std::string said(const Kernel& on_device, const Tensor& x, const GradTarget& y, const Scale& right = {}) {
  try {
    check_kernel("scale", "x, factor(3, 4), GradTarget{y, false}", on_device, right, x, 3.0, y);
  } catch (const DeviceMismatch& error) {
    return error.what();
  }
  return {};
}

// A kernel that differs in one element.
auto wrong_at(std::int64_t at, double value) {
  return [=](const Tensor& x, double more, const GradTarget& y) {
    Scale{}(x, more, y);
    y.tensor.set(at, value);
  };
}

}  // namespace

TEST_CASE("device check: kernels that agree pass, written or added, in all dtypes and row views") {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    for (const bool add : {false, true}) {
      const Tensor packed = Tensor::full({4, 9}, dtype, add ? 1 : std::nan(""));
      const Tensor x = random_tensor({4, 5}, 1).to(dtype);
      CHECK(said(Scale{}, x, {packed.column_view(2, 7), add}) == std::string());
      CHECK(std::abs(packed.at(2) - (add ? 1 : 0) - 3 * x.at(0)) < 0.1);
      CHECK(std::isnan(packed.at(1)) == !add);  // what lies beside a view is neither compared nor written
    }
  }
}

TEST_CASE("device check: the message names kernel, argument, worst element and both values") {
  const Tensor x = Tensor::from(std::vector<double>{1, -2, 0.5, 4}, {2, 2}, DType::f32);
  const Tensor y = Tensor::full({2, 2}, DType::f32, std::nan(""));
  CHECK(said(wrong_at(1, -6.5), x, {y, false}) ==
        std::string("scale: cpu must give what the CPU gives, to 0.0001 of 12; argument 3 (GradTarget{y, false}) f32 "
                    "[2,2] differs in 1 of 4 elements, most in element 1: -6.5 there, -6 on the CPU; run mixgrad "
                    "gradcheck --device cuda for this operator, or look into its .cu file"));
  const auto spoils_input = [](const Tensor& input, double more, const GradTarget& to) {
    Scale{}(input, more, to);
    input.set(2, 0.75);
  };
  const std::string spoilt = said(spoils_input, x.clone(), {y, false});
  CHECK(spoilt.find("argument 1 (x) f32 [2,2] differs in 1 of 4 elements, most in element 2: 0.75 there, 0.5 on the") !=
        std::string::npos);
}

TEST_CASE("device check: how much is allowed, of the largest value") {
  const auto caught = [](DType dtype, double error) {
    const Tensor x = Tensor::full({3}, dtype, 1);
    const Tensor y = Tensor::full({3}, dtype, 0);
    return !said(wrong_at(0, 3 + 3 * error), x, {y, false}).empty();
  };
  CHECK(caught(DType::f64, 1.1e-9));
  CHECK_FALSE(caught(DType::f64, 0.9e-9));
  CHECK(caught(DType::f32, 1.1e-4));
  CHECK_FALSE(caught(DType::f32, 0.9e-4));
  CHECK(caught(DType::bf16, 0.05));
  CHECK_FALSE(caught(DType::bf16, 0.01));
  CHECK(caught(DType::f32, 4e-3));
  const ContextScope scope({.matmul_precision = MatmulPrecision::high});
  CHECK_FALSE(caught(DType::f32, 4e-3));
}

TEST_CASE("device check: NaN and infinity must be where they are on the CPU") {
  const double nan = std::nan("");
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double value : {nan, infinity, -infinity}) {
    const Tensor x = Tensor::from(std::vector<double>{1, value / 3, 2}, {3}, DType::f64);
    const Tensor y = Tensor::zeros({3}, DType::f64);
    CHECK(said(Scale{}, x, {y, false}) == std::string());
    CHECK_FALSE(said(wrong_at(1, 0), x, {y, false}).empty());
    CHECK_FALSE(said(wrong_at(0, value), x, {y, false}).empty());
    CHECK_FALSE(said(wrong_at(1, std::isnan(value) ? infinity : -value), x, {y, false}).empty());
  }
}

TEST_CASE("device check: noise of rounding where the truth is zero is none of its business, i32 must be equal") {
  const Tensor x = Tensor::full({3}, DType::f32, 1);
  const Tensor y = Tensor::zeros({3}, DType::f32);
  const auto noise = [](const Tensor&, double, const GradTarget& to) { to.tensor.fill(5e-7); };
  CHECK(said(noise, x, {y, false}, Scale{0}) == std::string());
  const auto more = [](const Tensor&, double, const GradTarget& to) { to.tensor.fill(5e-6); };
  CHECK_FALSE(said(more, x, {y, false}, Scale{0}).empty());
  const Tensor tokens = Tensor::full({3}, DType::i32, 1000000);
  const Tensor counts = Tensor::zeros({3}, DType::i32);
  CHECK(said(Scale{}, tokens, {counts, false}) == std::string());
  CHECK_FALSE(said(wrong_at(2, 3000001), tokens, {counts, false}).empty());
}

TEST_CASE("device check: one tensor given twice is one copy, undefined ones pass, structs are looked into") {
  const Tensor x = random_tensor({5}, 1);
  CHECK(said(Scale{}, x, {x, false}) == std::string());  // in place
  const auto none = [](const Tensor& a, const GradTarget& b) { CHECK((!a.defined() && !b.tensor.defined())); };
  CHECK_NOTHROW(check_kernel("none", "a, b", none, none, Tensor(), GradTarget{}));

  CheckedCall call("scan", "in, out");
  const Tensor a_log = random_tensor({1, 2, 3}, 2);
  const ScanInputs in{x, x, a_log, {}, {}, x};
  const ScanInputs copy = call.on_host(in);
  CHECK(copy.x.equal_bits(x));
  CHECK_FALSE(copy.x.shares_memory_with(x));
  CHECK(copy.dt.shares_memory_with(copy.x));
  CHECK_FALSE(copy.a_log.shares_memory_with(a_log));
  CHECK_FALSE(copy.b.defined());
  const ScanTargets out{{x, true}, {a_log, false}, {}, {}, {}, {}};
  const ScanTargets targets = call.on_host(out);
  CHECK(targets.x.tensor.shares_memory_with(copy.x));
  CHECK(targets.x.add);
  CHECK(targets.dt.tensor.shares_memory_with(copy.a_log));
  a_log.set(4, 7);  // as a kernel on the device would
  const std::string text = error_text<DeviceMismatch>([&] { call.compare(); });
  CHECK(text.find("argument 1 (in) f64 [1,2,3] differs in 1 of 6 elements, most in element 4: 7 there") !=
        std::string::npos);
}

TEST_CASE("cli: --device check where it cannot be is an error that says why") {
  if (test_device().is_cuda()) return;
  const bool device = [] {
    if constexpr (build::has_cuda) return cuda::device_count() > 0;
    return false;
  }();
  if (device) return;
  const std::string why = build::has_cuda
                              ? "the device cuda:0 is required; this machine has 0 CUDA devices"
                              : "this build has the device cpu only, got check, which compares cuda with it";
  for (const std::string verb : {"gradcheck", "train --out never", "conform x", "bench train"}) {
    const Finished run = mixgrad(verb + " --device check");
    CAPTURE(verb);
    CAPTURE(run.err);
    CHECK(not_refused(run, 2) == "");
    CHECK((has(run.err, why) || has(run.err, "a driver for CUDA")));
  }
}

#if defined(MIXGRAD_CUDA)

namespace {

struct CheckScope : ContextScope {
  CheckScope() : ContextScope({.check_devices = true}) {}
};

}  // namespace

TEST_CASE("device check on CUDA: every operator's cases agree, forward and backward") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  const CheckScope scope;
  for (const OperatorCases& entry : all_cases().first(kBuiltInOperators)) {
    for (const OpCase& c : entry.make().cases) {
      for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        const std::string note = std::string(entry.spec->name) + ": " + c.note + " " + dtype_name(dtype);
        CAPTURE(note);
        CHECK_NOTHROW(run_with_gradients(c.run, inputs_as(c, dtype)));
      }
    }
  }
}

TEST_CASE("device check on CUDA: two steps and some decoding of every model form, to the bits that they have without") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  const std::vector<DecoderForm> forms = decoder_forms();
  for (std::size_t f = 0; f < forms.size(); f += 5) {  // each pattern at least once
    const DecoderForm& form = forms[f];
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      CAPTURE(form.name);
      CAPTURE(dtype_name(dtype));
      const auto weights = [&] {
        const std::unique_ptr<Decoder> model = make_decoder(form.config, dtype);
        AdamW optimizer(model->parameters(), {});
        TrainStep step(*model, optimizer);
        for (std::uint64_t i = 0; i < 2; ++i) {
          step.run(token_tensor(2, 19, kVocabulary, 1 + i), token_tensor(2, 19, kVocabulary, 3 + i), 1e-3);
        }
        DecoderState state = model->new_state(2, kContext);
        for (std::uint64_t i = 0; i < 3; ++i) {
          static_cast<void>(model->prefill(token_tensor(2, i == 0 ? 9 : 1, kVocabulary, 5 + i), state));
        }
        return model->parameters().flat().to(kCpu);
      };
      const Tensor plain = weights();
      const CheckScope scope;
      Tensor checked;
      CHECK_NOTHROW(checked = weights());
      if (checked.defined()) CHECK(checked.equal_bits(plain));
    }
  }
}

#endif

}  // namespace mixgrad::test
