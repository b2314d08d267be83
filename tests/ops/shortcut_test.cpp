// Attention over several layers: the cached form and the probe of ops/shortcut_attention, and what must hold of
// shortcuts whatever their numbers.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "core/error.h"
#include "ops/attention/attention.h"
#include "ops/cases/cases.h"
#include "ops/shortcut_attention/shortcut_attention.h"
#include "tests/support/attention_forms.h"
#include "tests/support/close.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {
namespace {

struct ShortcutSizes {
  std::int64_t batch, time, tokens, dh;
  ShortcutAttentionOptions options;

  Shape queries() const { return {batch, time, options.heads * dh}; }
  Shape keys() const { return {batch, tokens * options.sources, options.kv_heads * dh}; }
};

const std::vector<ShortcutSizes> kShortcutSizes{
    {1, 1, 1, 1, {}},
    {2, 1, 17, 3, {.heads = 4, .kv_heads = 2, .sources = 3}},
    {2, 5, 5, 3, {.heads = 3, .kv_heads = 1, .sources = 2}},
    {1, 4, 9, 5, {.heads = 2, .kv_heads = 2, .sources = 2, .window = 3}},
    {2, 5, 7, 4, {.heads = 2, .kv_heads = 1, .sources = 4, .window = 1}},
    {2, 40, 70, 2, {.heads = 2, .kv_heads = 1, .sources = 3}},
};

// sum over the tokens j that query i sees of p[i,(m,j)], all scores of a query at hand
Tensor depth_mass(const Tensor& q, const Tensor& k, const ShortcutSizes& s) {
  const auto& o = s.options;
  const Tensor mass = Tensor::zeros({s.batch, o.heads, s.time, o.sources}, DType::f64);
  for (std::int64_t n = 0; n < s.batch * o.heads * s.time; ++n) {
    const std::int64_t i = n % s.time;
    const std::int64_t h = n / s.time % o.heads;
    const std::int64_t b = n / s.time / o.heads;
    const std::int64_t last = i + s.tokens - s.time;
    double total = 0;
    std::vector<double> sums(static_cast<std::size_t>(o.sources));
    for (std::int64_t j = 0; j <= last; ++j) {
      if (o.window > 0 && j <= last - o.window) continue;
      for (std::int64_t m = 0; m < o.sources; ++m) {
        double score = 0;
        for (std::int64_t c = 0; c < s.dh; ++c) {
          score += q.at(((b * s.time + i) * o.heads + h) * s.dh + c) *
                   k.at((((b * s.tokens + j) * o.sources + m) * o.kv_heads + h / (o.heads / o.kv_heads)) * s.dh + c);
        }
        const double p = std::exp(score / std::sqrt(static_cast<double>(s.dh)));
        sums[static_cast<std::size_t>(m)] += p;
        total += p;
      }
    }
    for (std::int64_t m = 0; m < o.sources; ++m) mass.set(n * o.sources + m, sums[static_cast<std::size_t>(m)] / total);
  }
  return mass;
}

ModelConfig shortcut_config(const std::string& pattern) {
  return decoder_config(pattern, Positions::rope, Norm::layernorm, Mlp::gelu, true, true);
}

}  // namespace

TEST_CASE("shortcut_attention_cached: the last T of the valid tokens are the queries', rows behind are not read") {
  for (const ShortcutSizes& s : kShortcutSizes) {
    for (const auto& [dtype, tolerance] : kAttentionPrecisions) {
      const Tensor q = random_tensor(s.queries(), 1).to(dtype);
      const Tensor k = random_tensor(s.keys(), 2).to(dtype);
      const Tensor v = random_tensor(s.keys(), 3).to(dtype);
      const auto in_cache = [&](const Tensor& x) {  // NaN behind
        const std::int64_t rows = x.dim(1) + 3 * s.options.sources;
        const double nan = std::numeric_limits<double>::quiet_NaN();
        const Tensor cache = Tensor::full({x.dim(0), rows, x.dim(2)}, x.dtype(), nan);
        for (std::int64_t b = 0; b < x.dim(0); ++b) {
          cache.slice(b, b + 1)
              .reshape({rows, x.dim(2)})
              .slice(0, x.dim(1))
              .copy_from(x.slice(b, b + 1).reshape({x.dim(1), x.dim(2)}));
        }
        return cache;
      };
      const Tensor want = shortcut_attention(q, k, v, s.options);
      const Tensor got = shortcut_attention_cached(q, in_cache(k), in_cache(v), s.tokens - q.dim(1), s.options);
      CHECK(not_close(got, want, tolerance) == kNothing);
    }
  }
}

TEST_CASE("shortcut_depth_mass: the probabilities of each source, summed over the tokens; they sum to 1") {
  for (const ShortcutSizes& s : kShortcutSizes) {
    for (const auto& [dtype, tolerance] : kAttentionPrecisions) {
      const Tensor q = random_tensor(s.queries(), 1).to(dtype);
      const Tensor k = random_tensor(s.keys(), 2).to(dtype);
      const Tensor mass = shortcut_depth_mass(q, k, s.options);
      CHECK(mass.dtype() == accumulation_dtype(dtype));
      CHECK(not_close(mass, depth_mass(q, k, s), tolerance) == kNothing);
      for (std::int64_t n = 0; n < mass.rows(); ++n) {
        double sum = 0;
        for (std::int64_t m = 0; m < s.options.sources; ++m) sum += mass.at(n * s.options.sources + m);
        CHECK(std::abs(sum - 1) <= (dtype == DType::f64 ? 1e-14 : 2e-6));
      }
    }
  }
}

TEST_CASE("shortcut_depth_mass: the same bits for any number of threads") {
  const ShortcutSizes s{2, 70, 70, 4, {.heads = 4, .kv_heads = 2, .sources = 3}};
  const Tensor q = random_tensor(s.queries(), 1).to(DType::f32);
  const Tensor k = random_tensor(s.keys(), 2).to(DType::f32);
  const OneThread one_thread;
  const Tensor want = shortcut_depth_mass(q, k, s.options);
  for (const int count : {2, 3}) {
    const Threads used(count);
    CHECK(shortcut_depth_mass(q, k, s.options).equal_bits(want));
  }
}

TEST_CASE("shortcut_attention: over one source it is attention, bit for bit; over equal sources, attention over one") {
  const Tensor q = random_tensor({2, 40, 12}, 1);
  const Tensor k = random_tensor({2, 40, 6}, 2);
  const Tensor v = random_tensor({2, 40, 6}, 3);
  const Tensor want = attention(q, k, v, {.heads = 4, .kv_heads = 2});
  CHECK(shortcut_attention(q, k, v, {.heads = 4, .kv_heads = 2, .sources = 1}).equal_bits(want));
  const auto repeated = [](const Tensor& x) {
    const Tensor three = Tensor::empty({2, 120, 6}, DType::f64);
    for (std::int64_t i = 0; i < three.numel(); ++i) three.set(i, x.at(i / 18 * 6 + i % 6));
    return three;
  };
  const ShortcutAttentionOptions options{.heads = 4, .kv_heads = 2, .sources = 3};
  CHECK(not_close(shortcut_attention(q, repeated(k), repeated(v), options), want, 1e-13) == kNothing);
  const Tensor thirds = Tensor::full({2, 4, 40, 3}, DType::f64, 1.0 / 3);
  CHECK(not_close(shortcut_depth_mass(q, repeated(k), options), thirds, 1e-13) == kNothing);
}

TEST_CASE("shortcut_attention: changing a later token, or in the depth form an earlier one, changes no bit") {
  for (const std::int64_t window : {0, 1, 2}) {
    const ShortcutAttentionOptions options{.heads = 2, .kv_heads = 2, .sources = 3, .window = window};
    const Tensor q = random_tensor({1, 9, 6}, 1);
    const Tensor k = random_tensor({1, 27, 6}, 2);
    const Tensor v = random_tensor({1, 27, 6}, 3);
    const Tensor want = shortcut_attention(q, k, v, options);
    for (std::int64_t changed = 0; changed < 9; ++changed) {
      const Tensor k2 = k.clone();
      const Tensor v2 = v.clone();
      for (std::int64_t e = changed * 18; e < (changed + 1) * 18; ++e) {
        k2.set(e, 1e6);
        v2.set(e, -1e6);
      }
      const Tensor got = shortcut_attention(q, k2, v2, options);
      for (std::int64_t i = 0; i < 9; ++i) {
        const bool sees = changed <= i && (window == 0 || changed > i - window);
        CAPTURE(window);
        CAPTURE(changed);
        CAPTURE(i);
        CHECK(got.reshape({9, 6}).slice(i, i + 1).equal_bits(want.reshape({9, 6}).slice(i, i + 1)) == !sees);
      }
    }
  }
}

TEST_CASE("shortcut probes and cached calls refuse what a tape watches") {
  Tape tape;
  Tensor q = random_tensor({1, 2, 4}, 1);
  const Tensor k = random_tensor({1, 4, 4}, 2);
  tape.watch(q);
  const ShortcutAttentionOptions options{.sources = 2};
  CHECK(error_text<GradError>([&] { shortcut_depth_mass(q, k, options); }) ==
        "shortcut_depth_mass: is not differentiable, but q [1,2,4] is tracked; detach() it");
  CHECK(error_text<GradError>([&] { shortcut_attention_cached(q, k, k, 0, options); }) ==
        "shortcut_attention_cached: is not differentiable, but q [1,2,4] is tracked; detach() it");
}

TEST_CASE("depth mass: of every head, query and source; it sums to 1, and the effective depth is its mean source") {
  for (const char* concat : {"sequence", "depth"}) {
    CAPTURE(concat);
    const std::string pattern =
        std::string("attention,attention,attention,attention;0,2,3(hidden=5,concat=") + concat + ")";
    const auto decoder = make_decoder(shortcut_config(pattern), DType::f64);
    const DepthMass depth = decoder->depth_mass(token_tensor(2, 7, kVocabulary, 1));
    CHECK(depth.mass.shape() == Shape{2, 4, 7, 3});
    CHECK(depth.effective_depth.shape() == Shape{2, 4, 7});
    double largest = 0;
    for (std::int64_t n = 0; n < depth.mass.rows(); ++n) {
      const double m0 = depth.mass.at(3 * n);
      const double m1 = depth.mass.at(3 * n + 1);
      const double m2 = depth.mass.at(3 * n + 2);
      CHECK(std::abs(m0 + m1 + m2 - 1) <= 1e-14);
      CHECK(std::abs(depth.effective_depth.at(n) - (2 * m1 + 3 * m2)) <= 1e-14);
      largest = std::max(largest, m0);
    }
    CHECK(largest > 0.4);  // not all alike
  }
}

TEST_CASE("depth mass: refused where there is none") {
  const Tensor tokens = token_tensor(1, 3, kVocabulary, 1);
  const auto mass_of = [&](const std::string& pattern) {
    make_decoder(shortcut_config(pattern), DType::f32)->depth_mass(tokens);
  };
  CHECK(error_text<ValueError>([&] { mass_of("attention"); }) ==
        "depth mass: a model with a shortcut is required; this one has none");
  CHECK(
      error_text<ValueError>([&] { mass_of("attention;0,1(concat=feature)"); }) ==
      "depth mass: a shortcut whose keys belong to one source each is required (concat sequence or depth); this model "
      "has concat feature, where every key is made of all sources");
  const auto decoder = make_decoder(shortcut_config("attention;0,1"), DType::f32);
  CHECK(error_text<ShapeError>([&] { decoder->depth_mass(token_tensor(1, kContext + 1, kVocabulary, 1)); }) ==
        "decoder: a sequence must have 1 to 40 tokens (the model's context), got 41");
  Tape tape;
  decoder->parameters().watch(tape);
  CHECK(
      error_text<GradError>([&] { decoder->depth_mass(tokens); }) ==
      "decoder: depth_mass is not differentiable, but a tape watches the parameters; call it outside the tape's scope");
}

// The sources' products fill one tensor: the tape must hold no copy of it, and no hidden state beside it.
TEST_CASE("shortcut: the sources are computed into one tensor, without a copy") {
  const auto decoder = make_decoder(shortcut_config("attention,attention,attention;0,1,2(hidden=5)"), DType::f32);
  Tape tape;
  decoder->parameters().watch(tape);
  static_cast<void>(decoder->loss(token_tensor(2, 7, kVocabulary, 1), token_tensor(2, 7, kVocabulary, 2)));
  int count = 0;
  int attentions = 0;
  for (const TapeEntryReport& entry : tape.report()) {
    if (entry.op == "shortcut_attention") {
      ++attentions;
      REQUIRE(entry.saved.size() == 5);
      CHECK(entry.saved[1] == Shape{2, 21, 16});  // k, a row view of kv: T M rows
    }
    // kv reads what three products have written, [B,T M,D].
    if (entry.op == "linear" && entry.saved[0] == Shape{2, 21, kWidth}) ++count;
  }
  CHECK(attentions == 1);
  CHECK(count == 1);
}

TEST_CASE("shortcut: a state is that of the layer, and another's is refused") {
  const auto sequence = make_decoder(shortcut_config("attention;0,1"), DType::f64);
  const auto depth = make_decoder(shortcut_config("attention;0,1(concat=depth)"), DType::f64);
  const Tensor token = token_tensor(1, 1, kVocabulary, 1);
  DecoderState of_depth = depth->new_state(1, 8);
  CHECK(of_depth.mixers.back()->bytes() == 0);
  DecoderState of_sequence = sequence->new_state(1, 8);
  CHECK(of_sequence.mixers.back()->bytes() == 2 * 8 * 2 * kWidth * sizeof(double));
  CHECK(of_sequence.mixers.front()->bytes() == 2 * 8 * kWidth * sizeof(double));
  const std::string text = error_text<ValueError>([&] { sequence->prefill(token, of_depth); });
  CHECK(text ==
        "attention: a state from this mixer's new_state with batch 1 is required; got one of another mixer, attention, "
        "with batch 1; use the state that was made for this layer");
  of_sequence.mixers.back() = std::move(of_depth.mixers.back());
  CHECK(error_text<ValueError>([&] { sequence->prefill(token, of_sequence); })
            .starts_with("shortcut: a state from this mixer's new_state with batch 1 is required; got one of another "
                         "mixer, shortcut, with batch 1"));
}

}  // namespace mixgrad::test
