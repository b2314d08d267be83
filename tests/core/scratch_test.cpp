// Scratch memory: after its first use nothing grows, on whichever thread a task runs.
#include "core/scratch.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/matmul/matmul.h"
#include "tests/support/close.h"

namespace mixgrad::test {
namespace {

// Runs f(thread) once on each thread: no task ends before each thread has one.
void on_each_thread(const std::function<void(int)>& f) {
  std::atomic<int> arrived{0};
  parallel_for(threads(), [&](std::int64_t) {
    f(omp_get_thread_num());
    ++arrived;
    const auto start = std::chrono::steady_clock::now();
    while (arrived < threads() && std::chrono::steady_clock::now() - start < std::chrono::seconds(60)) {
      std::this_thread::yield();
    }
  });
  REQUIRE(arrived == threads());
}

}  // namespace

TEST_CASE("scratch: what one thread has asked for, each has when its part of the next region begins") {
  constexpr int kUnused = 13;
  std::int64_t count = 1000;
  for (const int n : {2, 3, 7}) {
    const Threads used(n);
    for (int asks = 0; asks < n; ++asks) {
      count *= 2;
      const std::int64_t before = scratch_growths();
      on_each_thread([&](int thread) {
        if (thread == asks) thread_scratch<float, kUnused>(count);
      });
      CHECK(scratch_growths() > before);  // more than by 1: a thread that came later has caught up at once
      on_each_thread([](int) {});
      const std::int64_t caught_up = scratch_growths();
      CHECK(caught_up >= before + n);
      on_each_thread([&](int) { thread_scratch<float, kUnused>(count)[count - 1] = 1; });
      CHECK(scratch_growths() == caught_up);
    }
  }
}

TEST_CASE("scratch: a product in a task allocates nothing on a thread that has never run one") {
  const Threads three_threads(3);
  const std::int64_t m = 150, n = 130, k = 700;
  const std::vector<float> a(static_cast<std::size_t>(m * k), 1), b(static_cast<std::size_t>(k * n), 1);
  std::vector<std::vector<float>> c(3, std::vector<float>(static_cast<std::size_t>(m * n)));
  const auto product = [&](int thread) {
    Product<float, float> p;
    p.m = m, p.n = n, p.k = k;
    p.a = a.data(), p.lda = m, p.transpose_a = true;
    p.b = b.data(), p.ldb = k, p.transpose_b = true;
    p.c = c[static_cast<std::size_t>(thread)].data(), p.ldc = n;
    cpu::matmul_serial(p);
  };
  on_each_thread([&](int thread) {
    if (thread == 2) product(thread);
  });
  on_each_thread([](int) {});
  const std::int64_t before = scratch_growths();
  on_each_thread(product);
  CHECK(scratch_growths() == before);
  CHECK(c[0] == c[2]);
  CHECK(c[1] == c[2]);
  CHECK(c[2].back() == 700);
}

TEST_CASE("scratch: slots of a thread lie apart, each from the start of a cache line on") {
  auto* first = thread_scratch<double, 11>(100);
  auto* second = thread_scratch<double, 12>(100);
  for (int i = 0; i < 100; ++i) first[i] = 1;
  for (int i = 0; i < 100; ++i) second[i] = 2;
  CHECK(first[99] == 1);
  CHECK(reinterpret_cast<std::uintptr_t>(first) % 64 == 0);
  CHECK(reinterpret_cast<std::uintptr_t>(second) % 64 == 0);
  CHECK(thread_scratch<double, 11>(50) == first);
}

TEST_CASE("scratch: a caller's memory stays where it is in a region, and is no other thread's") {
  const Threads three_threads(3);
  constexpr int kSlot = 14;  // the product's: no task uses it
  auto* mine = caller_scratch<int, kSlot>(5000);
  mine[4999] = 7;
  on_each_thread([](int thread) { thread_scratch<int, 8>(1000 * (thread + 1)); });
  on_each_thread([](int) {});
  const std::int64_t before = scratch_growths();
  on_each_thread([](int) {});
  CHECK(scratch_growths() == before);
  CHECK(mine[4999] == 7);
  CHECK(caller_scratch<int, kSlot>(5000) == mine);
}

TEST_CASE("scratch: what cannot be had is an error that says how much, and the slot still serves") {
  CHECK(error_text<OutOfMemory>([] { thread_scratch_bytes(10, SIZE_MAX - 7); }) ==
        "scratch memory of a thread: needs 18446744073709551608 bytes; use smaller shapes or fewer threads");
  CHECK(thread_scratch_bytes(10, 8) != nullptr);
}

}  // namespace mixgrad::test
