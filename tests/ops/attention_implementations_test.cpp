// Attention at the sizes where another CUDA implementation is chosen: tiles of 64 rows, heads up to 128 wide, grouped
// heads, strides, the past, windows, several sources. On every device against f64; on CUDA also each implementation
// against the naive one.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "core/context.h"
#include "ops/attention/attention.h"
#include "ops/attention/attention_kernels.h"
#include "ops/cases/law_support.h"
#include "ops/shortcut_attention/shortcut_attention.h"
#include "tests/support/close.h"
#include "tests/support/op_support.h"

namespace mixgrad::test {
namespace {

struct AttentionSizes {
  std::int64_t batch, queries, tokens, head_dim;
  AttentionOptions options;
  std::int64_t sources = 1;  // rows of keys a token
  std::int64_t gap = 8;      // unused columns before q, k and v: 8 keep the chunks of 16 bytes

  std::int64_t keys() const { return tokens * sources; }
  std::int64_t q_width() const { return options.heads * head_dim; }
  std::int64_t kv_width() const { return options.kv_heads * head_dim; }
};

std::string text_of(const AttentionSizes& s) {
  std::ostringstream text;
  text << "B=" << s.batch << " T=" << s.queries << " S=" << s.tokens << " M=" << s.sources << " dh=" << s.head_dim
       << " H=" << s.options.heads << " G=" << s.options.kv_heads << " w=" << s.options.window << " gap=" << s.gap
       << (s.options.dropout.active() ? " dropout" : "");
  return text.str();
}

std::vector<AttentionSizes> sizes() {
  std::vector<AttentionSizes> all;
  for (const std::int64_t queries : {16, 63, 64, 65, 130}) {
    for (const std::int64_t head_dim : {32, 64, 128}) {
      all.push_back({1, queries, queries, head_dim, {.heads = 2, .kv_heads = 2}});
    }
  }
  for (const std::int64_t head_dim : {8, 16, 48, 80, 120}) all.push_back({1, 70, 70, head_dim, {}});
  all.push_back({2, 130, 130, 64, {.heads = 6, .kv_heads = 2}});
  all.push_back({2, 70, 150, 32, {.heads = 3, .kv_heads = 1}});
  all.push_back({1, 17, 300, 128, {.heads = 2, .kv_heads = 1}});
  all.push_back({1, 200, 200, 64, {.heads = 2, .kv_heads = 2, .window = 33}});
  all.push_back({1, 100, 200, 128, {.heads = 2, .kv_heads = 1, .window = 100}});
  all.push_back({1, 40, 200, 32, {.window = 20}});  // keys that no query sees
  all.push_back({2, 100, 100, 64, {.heads = 2, .kv_heads = 2}, 6});
  all.push_back({1, 70, 75, 32, {.heads = 2, .kv_heads = 1, .window = 33}, 3});
  all.push_back({1, 130, 130, 64, {.window = 1}, 5});
  all.push_back({2, 100, 100, 64, {.heads = 2, .kv_heads = 2}, 1, 3});
  all.push_back({1, 100, 100, 45, {.heads = 2, .kv_heads = 1}, 1, 1});
  all.push_back({1, 100, 100, 64, {.heads = 2, .kv_heads = 1}, 1, 4});  // chunks of f32, not of bf16
  all.push_back({1, 1, 200, 64, {.heads = 4, .kv_heads = 2}});
  all.push_back({1, 66, 66, 136, {}});
  for (const std::int64_t tokens : {520, 2100}) {  // other blocks of warp groups
    all.push_back({1, tokens, tokens, 64, {.heads = 2, .kv_heads = 1}});
  }
  all.push_back({1, 530, 530, 128, {.heads = 2, .kv_heads = 1, .window = 190}});
  all.push_back({3, 140, 140, 40, {.heads = 50, .kv_heads = 50}});  // more tiles than a launch has blocks
  const DropoutMask dropout = DropoutMask::of(0.25, 9).in_step(4, 3, 2).at(17);
  for (const std::int64_t head_dim : {16, 64, 128}) {
    all.push_back({2, 150, 150, head_dim, {.heads = 4, .kv_heads = 2, .dropout = dropout}});
  }
  all.push_back({1, 70, 131, 64, {.heads = 2, .kv_heads = 1, .window = 33, .dropout = dropout}});
  all.push_back({1, 100, 100, 64, {.heads = 2, .kv_heads = 1, .dropout = dropout}, 3});
  all.push_back({1, 70, 70, 45, {.dropout = dropout}, 1, 1});
  all.push_back({1, 9, 9, 32, {.dropout = dropout}});
  return all;
}

std::vector<Tensor> inputs(const AttentionSizes& s) {
  return {random_tensor({s.batch, s.queries, s.q_width() + s.gap}, 1),
          random_tensor({s.batch, s.keys(), 2 * (s.gap + s.kv_width())}, 2)};
}

// q, k and v in place.
Tensor run(const AttentionSizes& s, std::span<const Tensor> in) {
  const std::int64_t width = s.gap + s.kv_width();
  const Tensor q = columns(in[0], s.gap, s.gap + s.q_width());
  const Tensor k = columns(in[1], s.gap, width);
  const Tensor v = columns(in[1], width + s.gap, 2 * width);
  if (s.sources == 1) return attention(q, k, v, s.options);
  return shortcut_attention(q, k, v,
                            {.heads = s.options.heads,
                             .kv_heads = s.options.kv_heads,
                             .sources = s.sources,
                             .window = s.options.window,
                             .dropout = s.options.dropout});
}

// Of the largest value of each result. Seen: 5e-3 in bf16, 8e-7 in f32.
double tolerance(DType dtype) { return dtype == DType::bf16 ? 1e-2 : 5e-6; }

}  // namespace

TEST_CASE("attention: tiles, widths and groups: outputs and gradients in f32 and bf16 as in f64, the same bits again") {
  for (const AttentionSizes& s : sizes()) {
    const std::string note = text_of(s);
    CAPTURE(note);
    const Function function = [&](std::span<const Tensor> in) { return std::vector{run(s, in)}; };
    const OpCase c{note, inputs(s), function, {}};
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const std::string type = dtype_name(dtype);
      CAPTURE(type);
      const Results got = run_with_gradients(of_intermediates(function, {}), inputs_as(c, dtype));
      const Results want = run_with_gradients(of_intermediates(function, {}), rounded_inputs(c, dtype));
      const std::string output =
          not_close_to_scale(got.outputs[0], want.outputs[0], tolerance(dtype), largest_of(want.outputs[0]));
      CHECK(output == kNothing);
      for (std::size_t i = 0; i < 2; ++i) {
        CAPTURE(i);
        // with a window of 1 over one source, dq and dk are zero in theory
        const double scale = std::max(0.1, largest_of(want.gradients[i]));
        const std::string gradient = not_close_to_scale(got.gradients[i], want.gradients[i], tolerance(dtype), scale);
        CHECK(gradient == kNothing);
      }
      const Results again = run_with_gradients(of_intermediates(function, {}), inputs_as(c, dtype));
      CHECK(again.outputs[0].equal_bits(got.outputs[0]));
      for (std::size_t i = 0; i < 2; ++i) CHECK(again.gradients[i].equal_bits(got.gradients[i]));
    }
  }
}

// What a decoding step meets: fewer keys than a chunk of the CUDA kernel, as many, more; a ring that is full; heads
// whose rows are not whole chunks of 16 bytes, and one too wide for the kernel.
// Adam divides by the size of a gradient, so that rounding in place of 0 would move weights as far as a gradient does.
TEST_CASE("attention: queries that see one key alone give queries and keys a gradient of 0, not rounding") {
  const DropoutMask dropout = DropoutMask::of(0.25, 9).in_step(4, 3, 2).at(17);
  for (const std::int64_t head_dim : {5, 64}) {
    for (const DropoutMask& mask : {DropoutMask(), dropout}) {
      const AttentionSizes s{2, 70, 70, head_dim, {.heads = 4, .kv_heads = 2, .window = 1, .dropout = mask}, 1, 3};
      CAPTURE(text_of(s));
      for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        const Function function = [&](std::span<const Tensor> in) { return std::vector{run(s, in)}; };
        std::vector<Tensor> in = inputs(s);
        for (Tensor& x : in) x = x.to(dtype);
        const Results got = run_with_gradients(of_intermediates(function, {}), in);
        const std::int64_t width = s.gap + s.kv_width();
        CHECK(largest_of(got.gradients[0]) == 0);
        CHECK(largest_of(got.gradients[1].column_view(0, width)) == 0);
        CHECK(largest_of(got.gradients[1].column_view(width, 2 * width)) > 0);
      }
    }
  }
}

TEST_CASE("attention of a decoding step: at every position of a cache it is attention to the valid keys") {
  const std::vector<AttentionSizes> all{{1, 1, 700, 64, {.heads = 4, .kv_heads = 2}},
                                        {2, 1, 300, 128, {.heads = 2, .kv_heads = 1}},
                                        {2, 1, 270, 45, {.heads = 2, .kv_heads = 1}},
                                        {1, 1, 100, 16, {.heads = 2}, 3},
                                        {1, 1, 90, 5, {}},
                                        {1, 1, 20, 700, {}},
                                        {1, 1, 300, 32, {.window = 33}}};
  for (const AttentionSizes& s : all) {
    const std::string note = text_of(s);
    CAPTURE(note);
    const ShortcutAttentionOptions options{s.options.heads, s.options.kv_heads, s.sources, s.options.window};
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const Tensor q = random_tensor({s.batch, 1, s.q_width()}, 1).to(dtype);
      const Tensor k = random_tensor({s.batch, s.keys(), s.kv_width()}, 2).to(dtype);
      const Tensor v = random_tensor({s.batch, s.keys(), s.kv_width()}, 3).to(dtype);
      for (const std::int64_t position : {0, 1, 19, 31, 254, 255, 256, 299, 512, 699, 5000}) {
        if (position >= s.tokens && s.options.window > 0) continue;
        CAPTURE(position);
        const std::int64_t valid = std::min(position + 1, s.tokens) * s.sources;
        const auto cut = [&](const Tensor& x, std::int64_t rows,
                             double behind) {  // `rows` rows of which some are valid
          const Tensor some = Tensor::full({s.batch, rows, s.kv_width()}, dtype, behind);
          for (std::int64_t b = 0; b < s.batch; ++b) {
            some.slice(b, b + 1)
                .reshape({rows, s.kv_width()})
                .slice(0, valid)
                .copy_from(x.slice(b, b + 1).reshape({s.keys(), s.kv_width()}).slice(0, valid));
          }
          return some;
        };
        const double nan = std::numeric_limits<double>::quiet_NaN();
        const auto precise = [](const Tensor& x) { return x.to(DType::f64); };
        const Tensor want =
            shortcut_attention(precise(q), precise(cut(k, valid, 0)), precise(cut(v, valid, 0)), options);
        const Tensor keys = cut(k, s.keys(), nan).to(test_device());
        const Tensor values = cut(v, s.keys(), nan).to(test_device());
        const Tensor query = q.to(test_device());
        const Tensor got = shortcut_attention_cached(query, keys, values, position, options);
        CHECK(not_close_to_scale(got.to(kCpu), want, dtype == DType::f64 ? 1e-13 : tolerance(dtype),
                                 largest_of(want)) == kNothing);
        if (!test_device().is_cuda()) continue;
        const Tensor number = Tensor::empty({1}, DType::f64);  // the position's 64 bits
        std::memcpy(number.raw(), &position, sizeof position);
        const Tensor there = number.to(test_device());
        const TokenPosition on_device(0, static_cast<const std::int64_t*>(there.raw()));
        CHECK(shortcut_attention_cached(query, keys, values, on_device, options).equal_bits(got));
      }
    }
  }
}

#if defined(MIXGRAD_CUDA)

namespace {

using cuda::AttentionImplementation;

// How numbers are stored and multiplied, and how far from the naive kernel results may be, of the largest value.
struct Kind {
  DType dtype;
  MatmulPrecision precision;
  double tolerance;
  double lse_tolerance;
};
const std::vector<Kind> kKinds{{DType::f32, MatmulPrecision::highest, 5e-6, 5e-6},
                               {DType::f32, MatmulPrecision::high, 2e-3, 1e-3},
                               {DType::bf16, MatmulPrecision::highest, 1e-2, 5e-6}};

AttentionImplementation expected_implementation(const AttentionSizes& s, const Kind& kind) {
  if (s.queries < 16 || s.head_dim > 128) return AttentionImplementation::naive;
  const bool chunks = s.head_dim % 8 == 0 && s.gap % (kind.dtype == DType::bf16 ? 8 : 4) == 0;
  if (!chunks) return AttentionImplementation::tiled;
  if (kind.dtype == DType::f32) {
    return kind.precision == MatmulPrecision::highest ? AttentionImplementation::tiled
                                                      : AttentionImplementation::tensor_core;
  }
  const bool groups = s.head_dim > 32 && !s.options.dropout.active() && cuda::has_warpgroup_attention(test_device());
  return groups ? AttentionImplementation::warpgroup : AttentionImplementation::tensor_core;
}

struct RunResults {
  Tensor out, lse, packed_q, packed_kv;  // on the host
};

// All outputs hold NaN before, or, when gradients are added, ones.
RunResults run_on(AttentionImplementation highest, AttentionImplementation expected, const AttentionSizes& s,
                  std::span<const Tensor> in, const Tensor& dout, bool add) {
  const std::int64_t width = s.gap + s.kv_width();
  const auto k_of = [&](const Tensor& kv) { return kv.column_view(s.gap, width); };
  const auto v_of = [&](const Tensor& kv) { return kv.column_view(width + s.gap, 2 * width); };
  const auto q_of = [&](const Tensor& q) { return q.column_view(s.gap, s.gap + s.q_width()); };
  const DType dtype = in[0].dtype();
  const Device device = in[0].device();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor q = q_of(in[0]);
  const Tensor out = Tensor::full(q.shape(), dtype, nan, device);
  const Tensor lse = Tensor::full({s.batch, s.options.heads, s.queries}, DType::f32, nan, device);
  const Tensor packed_q = Tensor::full(in[0].shape(), dtype, add ? 1 : nan, device);
  const Tensor packed_kv = Tensor::full(in[1].shape(), dtype, add ? 1 : nan, device);
  CHECK(cuda::attention_forward(highest, q, k_of(in[1]), v_of(in[1]), s.keys(), s.sources, s.options, out, lse) ==
        expected);
  CHECK(cuda::attention_backward(highest, q, k_of(in[1]), v_of(in[1]), out, lse, dout, s.sources, s.options,
                                 {q_of(packed_q), add}, {k_of(packed_kv), add}, {v_of(packed_kv), add}) == expected);
  const auto host = [](const Tensor& x) { return x.to(kCpu); };
  return {host(out), host(lse), host(q_of(packed_q)), host(packed_kv)};
}

// Nothing outside the columns of dk and dv was written.
bool gaps_hold(const Tensor& packed_kv, const AttentionSizes& s, bool add) {
  const std::int64_t width = s.gap + s.kv_width();
  for (std::int64_t i = 0; i < packed_kv.numel(); ++i) {
    if (i % width >= s.gap) continue;
    if (add ? packed_kv.at(i) != 1 : !std::isnan(packed_kv.at(i))) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("attention on CUDA: every implementation equals the naive one, into poisoned memory and added to ones") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  for (const AttentionSizes& s : sizes()) {
    const std::string note = text_of(s);
    CAPTURE(note);
    for (const Kind& kind : kKinds) {
      const ContextScope scope({.matmul_precision = kind.precision});
      const DType dtype = kind.dtype;
      const std::string type =
          std::string(dtype_name(dtype)) + (kind.precision == MatmulPrecision::high ? ", tf32" : "");
      CAPTURE(type);
      const std::vector<Tensor> in = on_device(inputs_as({note, inputs(s), {}, {}}, dtype));
      const Tensor dout = random_tensor({s.batch, s.queries, s.q_width()}, 5).to(dtype).to(test_device());
      for (const bool add : {false, true}) {
        CAPTURE(add);
        const RunResults want =
            run_on(AttentionImplementation::naive, AttentionImplementation::naive, s, in, dout, add);
        for (const AttentionImplementation highest :
             {AttentionImplementation::tiled, AttentionImplementation::tensor_core,
              AttentionImplementation::warpgroup}) {
          const RunResults got = run_on(highest, std::min(highest, expected_implementation(s, kind)), s, in, dout, add);
          const auto near = [&](const Tensor& a, const Tensor& b, double allowed) {
            return not_close_to_scale(a, b, allowed, std::max(0.1, largest_of(b)));
          };
          CHECK(near(got.out, want.out, kind.tolerance) == kNothing);
          CHECK(near(got.lse, want.lse, kind.lse_tolerance) == kNothing);
          CHECK(near(got.packed_q, want.packed_q, kind.tolerance) == kNothing);
          CHECK(gaps_hold(got.packed_kv, s, add));
          for (const std::int64_t begin : {s.gap, 2 * s.gap + s.kv_width()}) {  // dk, dv
            const Tensor dx = got.packed_kv.column_view(begin, begin + s.kv_width());
            CHECK(near(dx, want.packed_kv.column_view(begin, begin + s.kv_width()), kind.tolerance) == kNothing);
          }
        }
      }
    }
  }
}

TEST_CASE("attention on CUDA: rows of a cache behind the valid ones are not read, and later keys change no bit") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  const AttentionOptions options{.heads = 2, .kv_heads = 1};
  for (const Kind& kind : kKinds) {
    const ContextScope scope({.matmul_precision = kind.precision});
    const DType dtype = kind.dtype;
    const Tensor q = random_tensor({1, 100, 128}, 1).to(dtype).to(test_device());
    const Tensor k = random_tensor({1, 150, 64}, 2);
    const Tensor v = random_tensor({1, 150, 64}, 3);
    const auto there = [&](const Tensor& x, std::int64_t valid, double behind) {
      const Tensor cache = Tensor::full({1, 200, 64}, dtype, behind);
      for (std::int64_t i = 0; i < valid * 64; ++i) cache.set(i, x.at(i));
      return cache.to(test_device());
    };
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const Tensor want = attention(q, k.to(dtype).to(test_device()), v.to(dtype).to(test_device()), options).to(kCpu);
    const Tensor got = attention_cached(q, there(k, 150, nan), there(v, 150, nan), 50, options).to(kCpu);
    CHECK(got.equal_bits(want));
    // query i sees keys up to i + 50: without the last 30, the first 70 queries stay as they are
    const Tensor other = attention_cached(q, there(k, 120, 50), there(v, 120, -1e6), 50, options).to(kCpu);
    CHECK(other.reshape({100, 128}).slice(0, 70).equal_bits(want.reshape({100, 128}).slice(0, 70)));
    CHECK_FALSE(other.reshape({100, 128}).slice(70, 71).equal_bits(want.reshape({100, 128}).slice(70, 71)));
  }
}

#endif

}  // namespace mixgrad::test
