// The implementations against the plain one, and the laws of the packed implementation (matmul.h) bit for bit.
#include "ops/matmul/matmul.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "core/parallel.h"

namespace mixgrad::cpu {
namespace {

// The kernel as it was, also after a failure.
struct Restore {
  MatmulKernel kernel = matmul_kernel();
  ~Restore() { set_matmul_kernel(kernel); }
};

struct Shape {
  std::int64_t m, n, k;
  bool transpose_a = false, transpose_b = false;
  std::int64_t batch = 1;
  std::int64_t pad = 0;  // added to each leading dimension
  double alpha = 1;
  bool accumulate = false, bias = false;
};

template <class In, class Out>
struct Case {
  Product<In, Out> p;
  std::vector<In> a, b, bias;
  std::vector<Out> c;

  explicit Case(const Shape& s, unsigned seed = 1) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    const auto fill = [&](std::vector<In>& v, std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i) v.push_back(static_cast<In>(uniform(random)));
    };
    p.m = s.m, p.n = s.n, p.k = s.k;
    p.transpose_a = s.transpose_a, p.transpose_b = s.transpose_b;
    p.lda = (s.transpose_a ? s.m : s.k) + s.pad;
    p.ldb = (s.transpose_b ? s.k : s.n) + s.pad;
    p.ldc = s.n + s.pad;
    p.stride_a = (s.transpose_a ? s.k : s.m) * p.lda + s.pad;
    p.stride_b = (s.transpose_b ? s.n : s.k) * p.ldb + s.pad;
    p.stride_c = s.m * p.ldc + s.pad;
    p.batch = s.batch;
    p.alpha = static_cast<acc_t<In>>(s.alpha);
    p.accumulate = s.accumulate;
    fill(a, s.batch * p.stride_a);
    fill(b, s.batch * p.stride_b);
    fill(bias, s.n);
    p.a = a.data();
    p.b = b.data();
    if (s.bias) p.bias = bias.data();
    // NaN wherever C must not be read, and between its rows.
    c.assign(static_cast<std::size_t>(s.batch * p.stride_c), static_cast<Out>(std::nanf("")));
    if (s.accumulate) each([&](Out& x) { x = static_cast<Out>(uniform(random)); });
  }

  template <class F>
  void each(const F& f) {
    for (std::int64_t z = 0; z < p.batch; ++z) {
      for (std::int64_t i = 0; i < p.m; ++i) {
        for (std::int64_t j = 0; j < p.n; ++j) f(c[static_cast<std::size_t>(z * p.stride_c + i * p.ldc + j)]);
      }
    }
  }

  std::vector<Out> run(MatmulKernel kernel, int thread_count, bool serial = false) {
    const Restore restore;
    set_matmul_kernel(kernel);
    const ContextScope scope(with_threads(thread_count));
    std::vector<Out> out = c;
    Product<In, Out> q = p;
    q.c = out.data();
    serial ? matmul_serial(q) : matmul(q);
    return out;
  }
};

template <class T>
bool same_bits(const std::vector<T>& x, const std::vector<T>& y) {
  return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0);
}

// The largest difference, in units of the rounding that k terms below 1 in size allow; what lies between the rows of C
// must be NaN in both.
template <class In, class Out>
double distance(const std::vector<Out>& x, const std::vector<Out>& y, std::int64_t k) {
  const double sum_unit = std::is_same_v<In, double> ? 2.3e-16 : 1.2e-7;
  const double out_unit = std::is_same_v<Out, bf16> ? 0.008 : sum_unit;
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double u = static_cast<double>(x[i]);
    const double v = static_cast<double>(y[i]);
    if (std::isnan(u) && std::isnan(v)) continue;
    const double allowed = sum_unit * (4 + static_cast<double>(k)) + out_unit * std::abs(u);
    const double d = std::abs(u - v) / allowed;
    worst = d <= worst ? worst : d;  // NaN on one side only is taken over
    if (std::isnan(d)) return std::numeric_limits<double>::infinity();
  }
  return worst;
}

template <class In, class Out>
void check(const Shape& s) {
  CAPTURE(s.m);
  CAPTURE(s.n);
  CAPTURE(s.k);
  CAPTURE(s.transpose_a);
  CAPTURE(s.transpose_b);
  CAPTURE(s.accumulate);
  CAPTURE(s.bias);
  Case<In, Out> test(s);
  const auto naive = test.run(MatmulKernel::naive, 1);
  const auto packed = test.run(MatmulKernel::packed, 1);
  CHECK(distance<In>(naive, packed, s.k) <= 1);
  CHECK(distance<In>(naive, test.run(MatmulKernel::eigen, 2), s.k) <= 1);
  CHECK(same_bits(packed, test.run(MatmulKernel::packed, 2)));
  CHECK(same_bits(packed, test.run(MatmulKernel::packed, 3)));
  CHECK(same_bits(packed, test.run(MatmulKernel::packed, 1, true)));
}

}  // namespace

TEST_CASE_TEMPLATE_DEFINE("matmul: shapes, transposes, strides, bias, accumulate, batch", Types, matmul_shapes) {
  using In = typename Types::In;
  using Out = typename Types::Out;
  std::mt19937 random(7);
  const auto any = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  for (int transposes = 0; transposes < 4; ++transposes) {
    const auto with = [&](Shape s) {
      s.transpose_a = (transposes & 1) != 0;
      s.transpose_b = (transposes & 2) != 0;
      check<In, Out>(s);
    };
    for (std::int64_t size = 1; size <= 40; ++size) with({size, size, size});
    for (int i = 0; i < 60; ++i) {  // every option at random
      Shape s{any(1, 40), any(1, 40), any(0, 40)};
      s.batch = any(1, 3);
      s.pad = any(0, 1) * any(1, 9);
      s.alpha = any(0, 1) != 0 ? 1 : 0.3;
      s.accumulate = any(0, 1) != 0;
      s.bias = any(0, 1) != 0;
      with(s);
    }
    for (const std::int64_t k : {255, 256, 257, 511, 513, 1031}) {  // across the blocks of k
      with({.m = 13, .n = 37, .k = k});
      with({.m = 101, .n = 67, .k = k, .pad = 3, .alpha = 0.5, .accumulate = true, .bias = true});
    }
    with({.m = 211, .n = 307, .k = 53, .bias = true});  // several tiles both ways
    with({.m = 97, .n = 521, .k = 300, .accumulate = true});
    with({.m = 1, .n = 1543, .k = 401, .bias = true});
    with({.m = 1543, .n = 1, .k = 401});
    with({.m = 192, .n = 64, .k = 96, .batch = 2, .bias = true});
    with({.m = 31, .n = 29, .k = 33, .batch = 41, .accumulate = true});
    with({.m = 160, .n = 170, .k = 350, .batch = 2});
  }
}

template <class I, class O>
struct Pair {
  using In = I;
  using Out = O;
};
TEST_CASE_TEMPLATE_INVOKE(matmul_shapes, Pair<double, double>, Pair<float, float>, Pair<bf16, bf16>, Pair<bf16, float>);

TEST_CASE_TEMPLATE_DEFINE("matmul: an element has the same bits alone and among others", Types, matmul_alone) {
  using In = typename Types::In;
  using Out = typename Types::Out;
  const Restore restore;
  set_matmul_kernel(MatmulKernel::packed);
  for (const std::int64_t k : {7, 64, 300, 1031}) {
    for (int transposes = 0; transposes < 4; ++transposes) {
      Shape s{.m = 203, .n = 275, .k = k, .alpha = 0.7, .accumulate = true, .bias = true};
      s.transpose_a = (transposes & 1) != 0;
      s.transpose_b = (transposes & 2) != 0;
      Case<In, Out> test(s);
      const auto whole = test.run(MatmulKernel::packed, 2);
      // Windows of C: rows [i, i + m) and columns [j, j + n), as products of their own.
      const std::int64_t windows[][4] = {{0, 1, 0, 275},   {57, 1, 0, 275},  {202, 1, 31, 1}, {11, 3, 5, 200},
                                         {100, 23, 7, 33}, {5, 100, 274, 1}, {95, 30, 1, 40}, {1, 202, 3, 271}};
      for (const auto& [i, m, j, n] : windows) {
        Case<In, Out> part = test;
        part.p.m = m, part.p.n = n;
        part.p.a = test.a.data() + (s.transpose_a ? i : i * test.p.lda);
        part.p.b = test.b.data() + (s.transpose_b ? j * test.p.ldb : j);
        part.p.bias = test.bias.data() + j;
        std::vector<Out> out = test.c;
        part.p.c = out.data() + i * test.p.ldc + j;
        matmul(part.p);
        std::vector<Out> expected = test.c;
        for (std::int64_t r = i; r < i + m; ++r) {
          for (std::int64_t q = j; q < j + n; ++q) {
            const auto at = static_cast<std::size_t>(r * test.p.ldc + q);
            expected[at] = whole[at];
          }
        }
        CHECK(same_bits(out, expected));
      }
    }
  }
}
TEST_CASE_TEMPLATE_INVOKE(matmul_alone, Pair<double, double>, Pair<float, float>, Pair<bf16, bf16>, Pair<bf16, float>);

TEST_CASE("matmul: the bits do not depend on the transposes") {
  Case<float, float> plain({.m = 130, .n = 70, .k = 600});
  std::vector<float> at(plain.a.size()), bt(plain.b.size());
  for (std::size_t i = 0; i < 130; ++i) {
    for (std::size_t q = 0; q < 600; ++q) at[q * 130 + i] = plain.a[i * 600 + q];
  }
  for (std::size_t q = 0; q < 600; ++q) {
    for (std::size_t j = 0; j < 70; ++j) bt[j * 600 + q] = plain.b[q * 70 + j];
  }
  const auto expected = plain.run(MatmulKernel::packed, 2);
  plain.p.a = at.data(), plain.p.lda = 130, plain.p.transpose_a = true;
  CHECK(same_bits(expected, plain.run(MatmulKernel::packed, 2)));
  plain.p.b = bt.data(), plain.p.ldb = 600, plain.p.transpose_b = true;
  CHECK(same_bits(expected, plain.run(MatmulKernel::packed, 2)));
}

TEST_CASE("matmul: empty sizes") {
  for (const auto kernel : {MatmulKernel::packed, MatmulKernel::eigen, MatmulKernel::naive}) {
    for (const bool accumulate : {false, true}) {
      for (const bool bias : {false, true}) {
        Case<bf16, bf16> no_terms({.m = 5, .n = 9, .k = 0, .batch = 2, .accumulate = accumulate, .bias = bias});
        const auto out = no_terms.run(kernel, 2);
        for (std::size_t i = 0; i < out.size(); ++i) {
          const float before = accumulate ? static_cast<float>(no_terms.c[i]) : 0;
          const float added = bias ? static_cast<float>(no_terms.bias[i % 9]) : 0;
          CHECK(out[i].bits == bf16(before + added).bits);
        }
      }
    }
    Case<float, float> no_rows({.m = 0, .n = 9, .k = 4});
    Case<float, float> no_columns({.m = 4, .n = 0, .k = 4});
    Case<float, float> no_batch({.m = 4, .n = 4, .k = 4, .batch = 0});
    CHECK(no_rows.run(kernel, 2).empty());
    CHECK(no_columns.run(kernel, 2).empty());
    CHECK(no_batch.run(kernel, 2).empty());
  }
}

TEST_CASE("matmul: each product of a batch has its own bias, or all have one") {
  for (const auto kernel : {MatmulKernel::packed, MatmulKernel::eigen, MatmulKernel::naive}) {
    for (const std::int64_t k : {0, 5}) {
      Case<float, float> test({.m = 3, .n = 4, .k = k, .batch = 3, .bias = true});
      const std::vector<float> biases{1, 2, 3, 4, 0, 5, 6, 7, 8, 0, 9, 10, 11, 12, 0};
      const auto plain = test.run(kernel, 2);
      test.p.bias = biases.data();
      test.p.stride_bias = 5;
      const auto own = test.run(kernel, 2);
      for (std::size_t i = 0; i < own.size(); ++i) {
        const float want = biases[i / 12 * 5 + i % 4] - test.bias[i % 4];
        CHECK(std::abs(own[i] - plain[i] - want) < 1e-5F);
      }
    }
  }
}

TEST_CASE("matmul: NaN and infinity reach their row and column, and nothing else") {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const auto kernel : {MatmulKernel::packed, MatmulKernel::eigen, MatmulKernel::naive}) {
    for (const bool transpose_b : {false, true}) {
      Case<float, float> test({.m = 23, .n = 21, .k = 19, .transpose_b = transpose_b});
      for (float& x : test.b) x = std::abs(x) + 0.5F;
      test.a[4 * 19 + 3] = std::nanf("");
      test.a[22 * 19 + 18] = infinity;
      test.b[transpose_b ? 20 * 19 + 7 : 7 * 21 + 20] = -std::nanf("");
      const auto out = test.run(kernel, 2);
      for (std::size_t i = 0; i < 23; ++i) {
        for (std::size_t j = 0; j < 21; ++j) {
          const float x = out[i * 21 + j];
          if (i == 4 || j == 20) {
            CHECK(std::isnan(x));
          } else if (i == 22) {
            CHECK(x == infinity);
          } else {
            CHECK(std::isfinite(x));
          }
        }
      }
    }
  }
}

TEST_CASE("matmul: a stride of 0 shares an operand, and serial products may run in tasks") {
  Case<float, float> test({.m = 20, .n = 30, .k = 40, .batch = 6});
  test.p.stride_b = 0;
  const auto whole = test.run(MatmulKernel::packed, 2);
  std::vector<float> out = test.c;
  parallel_for(6, [&](std::int64_t z) {
    Product<float, float> one = test.p;
    one.batch = 1;
    one.a += z * one.stride_a;
    one.c = out.data() + z * one.stride_c;
    matmul_serial(one);
  });
  CHECK(same_bits(whole, out));
}

}  // namespace mixgrad::cpu
