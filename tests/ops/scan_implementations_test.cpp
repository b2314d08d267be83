// The scan at the sizes where the CUDA kernels change their way: 4, 8 and 16 states, blocks of 32 channels, chunks of
// 16 tokens, segments of 64, row views. On every device against f64; on CUDA also each implementation against the
// naive.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "ops/cases/law_support.h"
#include "ops/selective_scan/selective_scan.h"
#include "ops/selective_scan/selective_scan_kernels.h"
#include "tests/support/close.h"
#include "tests/support/op_support.h"

namespace mixgrad::test {
namespace {

struct ScanSizes {
  std::int64_t sequences, steps, heads, channels, states;
  std::int64_t gap = 3;  // unused columns before x and before dt
};

std::string text_of(const ScanSizes& s) {
  std::ostringstream text;
  text << "B=" << s.sequences << " T=" << s.steps << " R=" << s.heads << " C=" << s.channels << " N=" << s.states
       << " gap=" << s.gap;
  return text.str();
}

std::vector<ScanSizes> sizes() {
  std::vector<ScanSizes> all;
  for (const std::int64_t states : {4, 8, 16}) {
    for (const std::int64_t steps : {1, 15, 16, 17, 50}) all.push_back({2, steps, 2, 5, states});
    for (const std::int64_t channels : {1, 7, 8, 9, 16, 31, 32, 33, 64, 100}) {
      all.push_back({1, 18, 2, channels, states});
    }
  }
  all.push_back({12, 64, 4, 32, 16, 0});
  for (const std::int64_t states : {1, 3, 12, 17})
    all.push_back({1, 20, 2, 6, states});  // the naive implementation takes them
  return all;
}

std::vector<ScanSizes> long_sizes() {
  return {{1, 511, 1, 3, 4}, {1, 512, 2, 3, 4},   {2, 513, 1, 5, 8},  {1, 527, 1, 33, 16},
          {1, 576, 1, 2, 4}, {1, 4096, 1, 2, 16}, {1, 4097, 1, 1, 4}, {1, 4300, 2, 3, 8}};
}

// x after its gap, [dt;B;C] packed after theirs, a_log, d.
std::vector<Tensor> inputs(const ScanSizes& s) {
  return {random_tensor({s.sequences, s.steps, s.heads, s.gap + s.channels}, 1),
          random_tensor({s.sequences, s.steps, s.heads, s.gap + s.channels + 2 * s.states}, 2),
          random_tensor({s.heads, s.channels, s.states}, 3), random_tensor({s.heads, s.channels}, 4)};
}
constexpr IndexSet kParameters{2, 3};

Tensor run(const ScanSizes& s, std::span<const Tensor> in) {
  const std::int64_t b = s.gap + s.channels;
  return selective_scan(columns(in[0], s.gap, b), columns(in[1], s.gap, b), in[2], columns(in[1], b, b + s.states),
                        columns(in[1], b + s.states, b + 2 * s.states), in[3]);
}

// Of the largest value of each result.
double tolerance(DType dtype) { return dtype == DType::f64 ? 1e-11 : dtype == DType::f32 ? 2e-5 : 1e-2; }

void check_against_f64(const ScanSizes& s) {
  const std::string note = text_of(s);
  CAPTURE(note);
  const Function function =
      of_intermediates([&](std::span<const Tensor> in) { return std::vector{run(s, in)}; }, kParameters);
  const OpCase c{note, inputs(s), function, {}};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const std::string type = dtype_name(dtype);
    CAPTURE(type);
    const Results got = run_with_gradients(function, inputs_as(c, dtype));
    const Results want = run_with_gradients(function, rounded_inputs(c, dtype));
    const std::string output =
        not_close_to_scale(got.outputs[0], want.outputs[0], tolerance(dtype), largest_of(want.outputs[0]));
    CHECK(output == kNothing);
    const Results again = run_with_gradients(function, inputs_as(c, dtype));
    CHECK(again.outputs[0].equal_bits(got.outputs[0]));
    for (std::size_t i = 0; i < got.gradients.size(); ++i) {
      CAPTURE(i);
      const std::string gradient = not_close_to_scale(got.gradients[i], want.gradients[i], tolerance(dtype),
                                                      std::max(0.1, largest_of(want.gradients[i])));
      CHECK(gradient == kNothing);
      CHECK(again.gradients[i].equal_bits(got.gradients[i]));
    }
  }
}

}  // namespace

TEST_CASE("selective_scan: states, channels and chunks: outputs and gradients as in f64, the same bits again") {
  for (const ScanSizes& s : sizes()) check_against_f64(s);
}

TEST_CASE("selective_scan: long sequences: outputs and gradients as in f64, the same bits again") {
  for (const ScanSizes& s : long_sizes()) {
    if (s.steps < 1000) check_against_f64(s);
  }
}

#if defined(MIXGRAD_CUDA)

namespace {

using cuda::DeviceScanImplementation;

DeviceScanImplementation expected_implementation(const ScanSizes& s) {
  if (s.states != 4 && s.states != 8 && s.states != 16) return DeviceScanImplementation::naive;
  const std::int64_t blocks = s.sequences * s.heads * ((s.channels + 31) / 32);
  return s.steps >= 512 && blocks <= 64 ? DeviceScanImplementation::segments : DeviceScanImplementation::registers;
}

struct RunResults {
  Tensor y, saved, state, state_alone, packed_x, packed_dt, a_log, d;  // on the host
};

ScanInputs inputs_of(const ScanSizes& s, std::span<const Tensor> in) {
  const std::int64_t b = s.gap + s.channels;
  return {in[0].column_view(s.gap, b),
          in[1].column_view(s.gap, b),
          in[2],
          in[1].column_view(b, b + s.states),
          in[1].column_view(b + s.states, b + 2 * s.states),
          in[3]};
}

// All outputs hold NaN before, or, when gradients are added, ones.
RunResults run_on(DeviceScanImplementation highest, const ScanSizes& s, std::span<const Tensor> in, const Tensor& start,
                  const Tensor& dy, bool add) {
  const Device device = in[0].device();
  const DType dtype = in[0].dtype();
  const DType sums = start.dtype();
  const DeviceScanImplementation expected = std::min(highest, expected_implementation(s));
  const double before = add ? 1 : std::numeric_limits<double>::quiet_NaN();
  const ScanInputs x = inputs_of(s, in);
  const auto fresh = [&](const Shape& shape, DType type) { return Tensor::full(shape, type, before, device); };
  const auto host = [](const Tensor& tensor) { return tensor.to(kCpu); };
  RunResults results;
  const Tensor y = fresh(x.x.shape(), dtype);
  const Tensor saved = fresh({s.sequences, (s.steps + 15) / 16, s.heads, s.states, s.channels}, sums);
  const Tensor state = start.clone();
  // from a state on, keeping it and those between; then as in training, from zero on
  CHECK(cuda::selective_scan_forward(highest, x, state, saved, y) == expected);
  results.y = host(y);
  results.state = host(state);
  const Tensor alone = start.clone();
  CHECK(cuda::selective_scan_forward(highest, x, alone, Tensor(), y) == expected);
  CHECK(host(y).equal_bits(results.y));
  results.state_alone = host(alone);
  CHECK(cuda::selective_scan_forward(highest, x, Tensor(), saved, y) == expected);
  results.saved = host(saved);
  const std::vector<Tensor> gradients{fresh(in[0].shape(), dtype), fresh(in[1].shape(), dtype),
                                      fresh(in[2].shape(), sums), fresh(in[3].shape(), sums)};
  const ScanInputs to = inputs_of(s, gradients);
  const DeviceScanImplementation backward = cuda::selective_scan_backward(
      highest, x, saved, dy, {{to.x, add}, {to.dt, add}, {to.a_log, add}, {to.b, add}, {to.c, add}, {to.d, add}});
  CHECK(backward == std::min(expected, DeviceScanImplementation::registers));
  results.packed_x = host(gradients[0]);
  results.packed_dt = host(gradients[1]);
  results.a_log = host(gradients[2]);
  results.d = host(gradients[3]);
  return results;
}

// Nothing in the columns before x or dt was written.
bool gap_holds(const Tensor& packed, const ScanSizes& s, bool add) {
  for (std::int64_t i = 0; i < packed.numel(); ++i) {
    if (i % packed.cols() >= s.gap) continue;
    if (add ? packed.at(i) != 1 : !std::isnan(packed.at(i))) return false;
  }
  return true;
}

void check_implementations(const ScanSizes& s, DType dtype) {
  const std::string note = text_of(s);
  const std::string type = dtype_name(dtype);
  CAPTURE(note);
  CAPTURE(type);
  const DType sums = accumulation_dtype(dtype);
  const std::vector<Tensor> in = on_device(inputs_as({note, inputs(s), {}, {}}, dtype));
  const Shape states{s.sequences, s.heads, s.states, s.channels};
  const Tensor start = random_tensor(states, 5).to(sums).to(test_device());
  const Tensor dy = random_tensor({s.sequences, s.steps, s.heads, s.channels}, 6).to(dtype).to(test_device());
  for (const bool add : {false, true}) {
    CAPTURE(add);
    const RunResults want = run_on(DeviceScanImplementation::naive, s, in, start, dy, add);
    for (const DeviceScanImplementation highest :
         {DeviceScanImplementation::registers, DeviceScanImplementation::segments}) {
      if (highest > expected_implementation(s)) continue;  // the same kernels again
      const int implementation = static_cast<int>(highest);
      CAPTURE(implementation);
      const RunResults got = run_on(highest, s, in, start, dy, add);
      const auto near = [&](const Tensor& a, const Tensor& b, double allowed) {
        return not_close_to_scale(a, b, allowed, std::max(0.1, largest_of(b)));
      };
      CHECK(near(got.y, want.y, tolerance(dtype)) == kNothing);
      CHECK(near(got.saved, want.saved, tolerance(sums)) == kNothing);
      CHECK(near(got.state, want.state, tolerance(sums)) == kNothing);
      CHECK(got.state_alone.equal_bits(got.state));
      CHECK(near(got.a_log, want.a_log, tolerance(sums)) == kNothing);
      CHECK(near(got.d, want.d, tolerance(sums)) == kNothing);
      CHECK(gap_holds(got.packed_x, s, add));
      CHECK(gap_holds(got.packed_dt, s, add));
      const auto part = [&](const Tensor& packed, std::int64_t begin, std::int64_t width) {
        return packed.column_view(begin, begin + width);
      };
      const std::int64_t b = s.gap + s.channels;
      const auto same = [&](const Tensor& a, const Tensor& whole, std::int64_t begin, std::int64_t width) {
        return near(part(a, begin, width), part(whole, begin, width), tolerance(dtype));
      };
      CHECK(same(got.packed_x, want.packed_x, s.gap, s.channels) == kNothing);
      CHECK(same(got.packed_dt, want.packed_dt, s.gap, s.channels) == kNothing);
      CHECK(same(got.packed_dt, want.packed_dt, b, s.states) == kNothing);             // dB
      CHECK(same(got.packed_dt, want.packed_dt, b + s.states, s.states) == kNothing);  // dC
    }
  }
}

}  // namespace

TEST_CASE(
    "selective_scan on CUDA: every implementation gives what the naive one gives, into poisoned memory and added to "
    "ones") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  for (const ScanSizes& s : sizes()) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) check_implementations(s, dtype);
  }
}

TEST_CASE("selective_scan on CUDA: long sequences, every implementation gives what the naive one gives") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  for (const ScanSizes& s : long_sizes()) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) check_implementations(s, dtype);
  }
}

// The bound is that of the CPU (mamba_ops_test.cpp).
TEST_CASE("selective_scan on CUDA: after 4,000 tokens with decays near one the f32 state is still that of f64") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  const auto last = [](DType dtype, DeviceScanImplementation highest) {
    const auto full = [&](const Shape& shape, double value) {
      return Tensor::full(shape, dtype, value, test_device());
    };
    const Tensor rows = full({1, 4000, 1, 4}, 1);
    const ScanInputs in{full({1, 4000, 1, 1}, 1), full({1, 4000, 1, 1}, -9), full({1, 1, 4}, 0), rows, rows,
                        full({1, 1}, 0)};
    const Tensor y = full({1, 4000, 1, 1}, 0);
    CHECK(cuda::selective_scan_forward(highest, in, Tensor(), Tensor(), y) == highest);
    return y.at(3999);
  };
  const double want = last(DType::f64, DeviceScanImplementation::naive);
  for (const DeviceScanImplementation implementation :
       {DeviceScanImplementation::registers, DeviceScanImplementation::segments}) {
    CHECK(std::abs(last(DType::f32, implementation) / want - 1) < 1e-4);
    CHECK(std::abs(last(DType::f64, implementation) / want - 1) < 1e-11);
  }
}

TEST_CASE(
    "selective_scan on CUDA: what is not a number spreads from where it is, and no further back, on every "
    "implementation") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  for (const std::int64_t steps : {40, 600}) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      for (std::size_t input = 0; input < 5; ++input) {
        CAPTURE(steps);
        CAPTURE(input);
        const std::int64_t at = steps / 2;
        std::vector<Tensor> in{random_tensor({2, steps, 2, 5}, 1), random_tensor({2, steps, 2, 5}, 2),
                               random_tensor({2, 5, 8}, 3),        random_tensor({2, steps, 2, 8}, 4),
                               random_tensor({2, steps, 2, 8}, 5), random_tensor({2, 5}, 6)};
        in[input].set(input == 2 ? 0 : at * 2 * in[input].dim(3), std::nan(""));
        for (Tensor& tensor : in) tensor = tensor.to(dtype).to(test_device());
        const Tensor y = selective_scan(in[0], in[1], in[2], in[3], in[4], in[5]).to(kCpu);
        const std::int64_t row = 2 * 5;
        CHECK(std::isnan(y.at(at * row)));
        if (input != 2) CHECK_FALSE(std::isnan(y.at((at - 1) * row)));
        CHECK_FALSE(std::isnan(y.at(at * row + 5)));                            // the other head
        if (input != 2) CHECK_FALSE(std::isnan(y.at(steps * row + at * row)));  // the other sequence
      }
    }
  }
}

#endif

}  // namespace mixgrad::test
