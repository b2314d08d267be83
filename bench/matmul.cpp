// Times the matrix products of a training step (docs/history/performance.md) one by one, f32, and adds them up.
//   cmake --build --preset cpu --target bench_matmul
//   chrt -f 1 build/cpu/bin/bench_matmul [THREADS [ROUNDS [IMPLEMENTATION]]]
// IMPLEMENTATION: packed (the default) or tiles (ops/matmul/matmul.h).
// The products of a round run in the order of the list, each on operands of its own, so that operands come from where
// a step finds them: not from the caches of the product before.
#include "ops/matmul/matmul.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "apps/output/clock.h"
#include "core/parallel.h"
#include "core/tensor.h"
#include "ops/cases/cases.h"

namespace mixgrad {
namespace {

double now_ms() { return 1e3 * app::now(); }

// One product of a step with its operands. N: as stored, T: transposed.
struct Timed {
  Tensor a, b, c;
  Product<float, float> product;
  std::vector<double> ms;
};

Timed timed(std::int64_t m, std::int64_t n, std::int64_t k, bool transpose_a, bool transpose_b) {
  Timed t;
  t.a = test::random_tensor({m * k}, 1).to(DType::f32);
  t.b = test::random_tensor({n * k}, 2).to(DType::f32);
  t.c = Tensor::zeros({m * n}, DType::f32);
  auto& p = t.product;
  p.m = m, p.n = n, p.k = k;
  p.a = t.a.data<float>(), p.lda = transpose_a ? m : k, p.transpose_a = transpose_a;
  p.b = t.b.data<float>(), p.ldb = transpose_b ? k : n, p.transpose_b = transpose_b;
  p.c = t.c.data<float>(), p.ldc = n;
  return t;
}

void run(const char* name, std::int64_t layers, std::int64_t tokens, std::int64_t width, int rounds) {
  std::vector<Timed> step;
  for (const auto& [out, in] : {std::pair{3 * width, width}, {width, width}, {4 * width, width}, {width, 4 * width}}) {
    step.push_back(timed(tokens, out, in, false, true));   // y = x W^T
    step.push_back(timed(tokens, in, out, false, false));  // dx = dy W
    step.push_back(timed(out, in, tokens, true, false));   // dW = dy^T x
  }
  for (int round = -1; round < rounds; ++round) {
    for (Timed& t : step) {
      const double start = now_ms();
      cpu::matmul(t.product);
      if (round >= 0) t.ms.push_back(now_ms() - start);
    }
  }
  double sum = 0, operations = 0;
  for (Timed& t : step) {
    std::sort(t.ms.begin(), t.ms.end());
    const double median = t.ms[t.ms.size() / 2];
    const auto& p = t.product;
    const double giga = 2e-9 * static_cast<double>(p.m * p.n * p.k);
    sum += median, operations += giga;
    std::printf("%5lld %5lld %5lld %c%c  median %8.3f ms %6.1f GFLOP/s, best %6.1f\n", static_cast<long long>(p.m),
                static_cast<long long>(p.n), static_cast<long long>(p.k), p.transpose_a ? 'T' : 'N',
                p.transpose_b ? 'T' : 'N', median, giga / median * 1e3, giga / t.ms.front() * 1e3);
  }
  const auto count = static_cast<double>(layers);
  std::printf("%s: %.1f ms a step for %.1f GFLOP in linear layers, %.1f GFLOP/s\n", name, count * sum,
              count * operations, operations / sum * 1e3);
}

}  // namespace
}  // namespace mixgrad

int main(int count, char** arguments) {
  const mixgrad::ContextScope scope({.threads = count > 1 ? std::atoi(arguments[1]) : 0});
  const int rounds = count > 2 ? std::atoi(arguments[2]) : 15;
  if (count > 3 && std::string(arguments[3]) == "tiles") {
    mixgrad::cpu::set_matmul_kernel(mixgrad::cpu::MatmulKernel::tiles);
  }
  mixgrad::run("char", 4, 12 * 64, 128, rounds);
  mixgrad::run("baby", 6, 8 * 256, 384, rounds);
}
