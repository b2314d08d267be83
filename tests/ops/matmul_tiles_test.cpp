// The implementation of bf16 tiles: against plain loops in f64 over the rounded operands, and the laws of matmul.h bit
// for bit, on the processor's tile unit where it has one and on the one in plain loops everywhere.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "core/matmul_precision.h"
#include "core/parallel.h"
#include "ops/matmul/matmul_implementations.h"
#include "ops/matmul/packed/tile_packing.h"
#include "ops/matmul/packed/tiles.h"

namespace mixgrad::cpu::tiles_test {
namespace {

template <class T>
std::vector<T> uniform(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> from(-1, 1);
  std::vector<T> values;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(static_cast<T>(from(random)));
  return values;
}

// C = 0.7 op(A) op(B) + bias (+ C), or, bare, C (+)= op(A) op(B), whose sums stand in C itself. Leading dimensions with
// room to spare, NaN in it.
template <class In, class Out>
struct Case {
  std::vector<In> a, b, bias;
  std::vector<Out> c;
  Product<In, Out> p;

  Case(std::int64_t m, std::int64_t n, std::int64_t k, bool transpose_a, bool transpose_b, bool accumulate = false,
       bool bare = false) {
    p.m = m, p.n = n, p.k = k;
    p.transpose_a = transpose_a, p.transpose_b = transpose_b;
    p.lda = (transpose_a ? m : k) + 3, p.ldb = (transpose_b ? k : n) + 5, p.ldc = n + 7;
    a = uniform<In>((transpose_a ? k : m) * p.lda, 1);
    b = uniform<In>((transpose_b ? n : k) * p.ldb, 2);
    if (!bare) bias = uniform<In>(n, 3);
    p.alpha = bare ? 1.0F : 0.7F;
    p.accumulate = accumulate;
    c.assign(static_cast<std::size_t>(m * p.ldc), static_cast<Out>(std::nanf("")));
    for (std::int64_t i = 0; accumulate && i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) c[static_cast<std::size_t>(i * p.ldc + j)] = static_cast<Out>(0.5F);
    }
  }

  In at_a(std::int64_t i, std::int64_t q) const {
    return a[static_cast<std::size_t>(p.transpose_a ? q * p.lda + i : i * p.lda + q)];
  }
  In at_b(std::int64_t q, std::int64_t j) const {
    return b[static_cast<std::size_t>(p.transpose_b ? j * p.ldb + q : q * p.ldb + j)];
  }

  std::vector<Out> run(int thread_count, bool plain = true, bool parallel = true) const {
    const ContextScope scope(with_threads(thread_count));
    flush_denormals();
    std::vector<Out> out = c;
    Product<In, Out> q = p;
    q.a = a.data(), q.b = b.data(), q.c = out.data(), q.bias = bias.empty() ? nullptr : bias.data();
    matmul_tiles(q, parallel, plain);
    return out;
  }

  // The largest error over the largest sum of |a b|, which rounding is in proportion to.
  double error(const std::vector<Out>& out) const {
    double worst = 0, size = 0;
    for (std::int64_t i = 0; i < p.m; ++i) {
      for (std::int64_t j = 0; j < p.n; ++j) {
        double sum = 0, absolute = 0;
        for (std::int64_t q = 0; q < p.k; ++q) {
          const double term = static_cast<double>(bf16(at_a(i, q))) * static_cast<double>(bf16(at_b(q, j)));
          sum += term;
          absolute += std::abs(term);
        }
        const double added = bias.empty() ? 0 : static_cast<double>(bias[static_cast<std::size_t>(j)]);
        const double want = static_cast<double>(p.alpha) * sum + added + (p.accumulate ? 0.5 : 0);
        const double got = static_cast<double>(out[static_cast<std::size_t>(i * p.ldc + j)]);
        if (std::isnan(got)) return std::numeric_limits<double>::infinity();
        worst = std::max(worst, std::abs(got - want));
        size = std::max(size, absolute);
      }
    }
    return worst / std::max(size, 1.0);
  }
};

template <class T>
bool same_bits(const std::vector<T>& x, const std::vector<T>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0;
}

constexpr struct {
  std::int64_t m, n, k;
} kShapes[] = {{1, 1, 1},     {1, 67, 300},   {16, 16, 32}, {17, 33, 31}, {32, 48, 64},
               {70, 45, 290}, {150, 130, 33}, {3, 5, 600},  {257, 40, 65}};

template <class In, class Out>
void check_shapes() {
  const double allowed = std::is_same_v<Out, bf16> ? 4e-3 : 1e-6;
  for (int options = 0; options < 16; ++options) {
    for (const auto& shape : kShapes) {
      const std::int64_t m = shape.m, n = shape.n, k = shape.k;
      CAPTURE(m);
      CAPTURE(n);
      CAPTURE(k);
      CAPTURE(options);
      const Case<In, Out> test(m, n, k, (options & 1) != 0, (options & 2) != 0, (options & 4) != 0, (options & 8) != 0);
      const auto out = test.run(1);
      CHECK(test.error(out) <= allowed);
      for (std::int64_t i = 0; i + 1 < m; ++i)
        CHECK(std::isnan(static_cast<float>(out[static_cast<std::size_t>(i * test.p.ldc + n)])));
      CHECK(same_bits(out, test.run(2)));
      CHECK(same_bits(out, test.run(3)));
      CHECK(same_bits(out, test.run(1, true, false)));
      if (has_amx()) CHECK(same_bits(out, test.run(2, false)));
    }
  }
}

}  // namespace

TEST_CASE("matmul tiles: shapes, transposes, strides, bias, accumulate") {
  if (!has_amx()) MESSAGE("no AMX here: only the tile unit in plain loops is tested");
  check_shapes<float, float>();
  check_shapes<bf16, float>();
  check_shapes<bf16, bf16>();
}

TEST_CASE("matmul tiles: an element has the same bits alone and among others, and however operands are stored") {
  for (const bool bare : {false, true}) {
    for (const std::int64_t k : {7, 300, 515}) {
      const Case<float, float> plain(140, 75, k, false, false, true, bare);
      const auto whole = plain.run(2);
      for (int transposes = 1; transposes < 4; ++transposes) {
        Case<float, float> turned(140, 75, k, (transposes & 1) != 0, (transposes & 2) != 0, true, bare);
        for (std::int64_t q = 0; q < k; ++q) {
          for (std::int64_t i = 0; i < 140; ++i)
            turned.a[static_cast<std::size_t>(turned.p.transpose_a ? q * turned.p.lda + i : i * turned.p.lda + q)] =
                plain.at_a(i, q);
          for (std::int64_t j = 0; j < 75; ++j)
            turned.b[static_cast<std::size_t>(turned.p.transpose_b ? j * turned.p.ldb + q : q * turned.p.ldb + j)] =
                plain.at_b(q, j);
        }
        CHECK(same_bits(whole, turned.run(2)));
      }
      const std::int64_t windows[][4] = {{0, 1, 0, 75}, {139, 1, 74, 1}, {5, 100, 3, 20}, {33, 17, 31, 44}};
      for (const auto& [i, m, j, n] : windows) {
        Case<float, float> part = plain;
        part.p.m = m, part.p.n = n;
        part.a.erase(part.a.begin(), part.a.begin() + i * plain.p.lda);
        part.b.erase(part.b.begin(), part.b.begin() + j);
        if (!bare) part.bias.erase(part.bias.begin(), part.bias.begin() + j);
        part.c.erase(part.c.begin(), part.c.begin() + i * plain.p.ldc + j);
        const auto out = part.run(2);
        for (std::int64_t r = 0; r < m; ++r) {
          CHECK(std::memcmp(&out[static_cast<std::size_t>(r * plain.p.ldc)],
                            &whole[static_cast<std::size_t>((i + r) * plain.p.ldc + j)],
                            static_cast<std::size_t>(n) * sizeof(float)) == 0);
        }
      }
    }
  }
}

TEST_CASE("matmul tiles: a batch has the bits of its products, whichever way it is cut") {
  const struct { std::int64_t batch, m, n, k; } batches[] = {{41, 31, 29, 33}, {2, 160, 170, 350}};
  for (const auto& [batch, m, n, k] : batches) {
    Case<float, float> whole(batch * m, n, k, false, false);  // row after row: the products share B
    whole.p.m = m;
    whole.p.batch = batch;
    whole.p.stride_a = m * whole.p.lda;
    whole.p.stride_c = m * whole.p.ldc;
    const auto out = whole.run(2);
    whole.p.batch = 1;
    whole.p.m = batch * m;
    CHECK(same_bits(out, whole.run(3)));
  }
}

TEST_CASE("matmul tiles: taken for bf16, and for f32 at medium, where the processor has them") {
  const auto check = [](const auto& test, bool tiles) {
    auto out = test.c;
    auto expected = test.c;
    auto p = test.p;
    p.a = test.a.data(), p.b = test.b.data(), p.bias = test.bias.data();
    p.c = out.data();
    matmul(p);
    p.c = expected.data();
    tiles ? matmul_tiles(p, true, false) : matmul_packed(p, true);
    CHECK(same_bits(out, expected));
  };
  const Case<float, float> floats(50, 60, 300, false, true);
  const Case<bf16, float> halves(50, 60, 300, false, true);
  for (const auto asked : {MatmulPrecision::highest, MatmulPrecision::high, MatmulPrecision::medium}) {
    const ContextScope scope({.matmul_precision = asked});
    check(floats, has_amx() && asked == MatmulPrecision::medium);
    check(halves, has_amx());
  }
}

TEST_CASE("matmul tiles: float is rounded as bf16 is") {
  const std::uint32_t special[] = {0,           0x80000000U, 0x7f800000U, 0xff800000U, 0x7f7fffffU, 0x3f808000U,
                                   0x3f818000U, 0x3f808001U, 0x7fffffffU, 0xffffffffU, 0x7f800001U, 0x7fc00000U};
  std::vector<float> values = uniform<float>(1000, 4);
  for (const std::uint32_t word : special) {
    float x = 0;
    std::memcpy(&x, &word, sizeof x);
    values.push_back(x);
  }
  for (const float x : values) {
    const std::vector<float> row(kRow, x);
    const HalfRowU half = bf16_bits(row.data());
    bf16 got;
    got.bits = half[kRow - 1];
    CAPTURE(x);
    CHECK((std::isnan(x) ? std::isnan(static_cast<float>(got)) : got.bits == bf16(x).bits));
  }
}

TEST_CASE("matmul tiles: what is not finite reaches its row and column, and nothing else") {
  for (const bool bare : {false, true}) {
    Case<float, float> test(40, 50, 60, false, true, false, bare);
    test.a[static_cast<std::size_t>(4 * test.p.lda + 3)] = std::nanf("");
    test.a[static_cast<std::size_t>(39 * test.p.lda + 59)] = std::numeric_limits<float>::infinity();
    test.b[static_cast<std::size_t>(20 * test.p.ldb + 7)] = -std::nanf("");
    const auto out = test.run(2);
    for (std::int64_t i = 0; i < 40; ++i) {
      for (std::int64_t j = 0; j < 50; ++j) {
        const float x = out[static_cast<std::size_t>(i * test.p.ldc + j)];
        if (i == 4 || j == 20)
          CHECK(std::isnan(x));
        else
          CHECK(std::isfinite(x) == (i != 39));
      }
    }
  }
}

}  // namespace mixgrad::cpu::tiles_test
