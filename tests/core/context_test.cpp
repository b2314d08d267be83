// Settings belong to a context that is handed on: scopes nest, tasks and backward passes compute under the right one,
// and two models with different settings live in one process.
#include "core/context.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "autograd/tape.h"
#include "core/error.h"
#include "core/parallel.h"
#include "ops/cases/cases.h"
#include "ops/linear/linear.h"
#include "tests/support/close.h"
#include "tests/support/device.h"

namespace mixgrad::test {
namespace {

constexpr Context kMediumOnTwo{.matmul_precision = MatmulPrecision::medium, .threads = 2};

}  // namespace

TEST_CASE("context: scopes nest and end, and a thread of its own has the default") {
  CHECK(context() == Context{});
  {
    const ContextScope outer(kMediumOnTwo);
    CHECK(context() == kMediumOnTwo);
    CHECK(threads() == 2);
    {
      const ContextScope inner({.check_devices = true});
      CHECK(context() == Context{.threads = 2, .check_devices = true});  // 0 threads: those of the scope around
      const ContextScope innermost(with_threads(3));
      CHECK(context() == Context{.threads = 3, .check_devices = true});
    }
    CHECK(context() == kMediumOnTwo);
    std::thread([] { CHECK(context() == Context{}); }).join();
  }
  CHECK(context() == Context{});
}

TEST_CASE("context: a scope ends when an exception leaves it") {
  try {
    const ContextScope scope(kMediumOnTwo);
    throw ValueError("planned");
  } catch (const ValueError&) {
  }
  CHECK(context() == Context{});
}

TEST_CASE("context: a negative number of threads is an error, and changes nothing") {
  CHECK(error_text<ValueError>([] { const ContextScope scope({.threads = -1}); }) ==
        std::string("threads: must be at least 1, or 0 for those of the scope around it, got -1"));
  CHECK(context() == Context{});
}

TEST_CASE("context: tasks compute under the context of the thread that started them") {
  for (const int count : {1, 2, 3, 7}) {
    const Context expected{.matmul_precision = MatmulPrecision::high, .threads = count, .check_devices = true};
    const ContextScope scope(expected);
    std::atomic<int> right{0};
    parallel_for(100, [&](std::int64_t) { right += context() == expected ? 1 : 0; });
    CHECK(right == 100);
  }
  std::atomic<int> plain{0};
  parallel_for(100, [&](std::int64_t) { plain += context().matmul_precision == MatmulPrecision::highest ? 1 : 0; });
  CHECK(plain == 100);
}

TEST_CASE("context: a placement takes that of its scope, unless one is given") {
  const ContextScope scope(kMediumOnTwo);
  CHECK(Placement(DType::f32).context == kMediumOnTwo);
  CHECK(Placement(DType::f32, kCpu, Context{}).context == Context{});
}

// Products at `medium` round f32 operands to bf16 on processors with AMX and on CUDA; elsewhere they are exact, and the
// two results are equal. Which of them an operator saw is then seen from context(), recorded by a backward function.
TEST_CASE("context: an operator's gradient is computed as its forward pass was") {
  const Tensor x = random_tensor({40, 96}, 1).to(DType::f32).to(test_device());
  const auto gradient = [&](MatmulPrecision forward, MatmulPrecision backward) {
    Tensor w = random_tensor({56, 96}, 2).to(DType::f32).to(test_device());
    Tape tape;
    tape.watch(w);
    Tensor y;
    {
      const ContextScope scope({.matmul_precision = forward});
      y = linear(x, w);
    }
    const ContextScope scope({.matmul_precision = backward});
    Gradients into(std::vector<Shape>{w.shape()}, DType::f32, test_device());
    const Tape::Seed seed{y, random_tensor({40, 56}, 3).to(DType::f32).to(test_device())};
    std::move(tape).backward(std::span(&seed, 1), into);
    return into.of(0).to(kCpu).clone();
  };
  const Tensor exact = gradient(MatmulPrecision::highest, MatmulPrecision::highest);
  const Tensor rounded = gradient(MatmulPrecision::medium, MatmulPrecision::medium);
  CHECK(gradient(MatmulPrecision::highest, MatmulPrecision::medium).equal_bits(exact));
  CHECK(gradient(MatmulPrecision::medium, MatmulPrecision::highest).equal_bits(rounded));
}

}  // namespace mixgrad::test
