// The memory pool, random numbers and threads.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "core/allocator.h"
#include "core/build.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "core/text/bytes.h"
#include "tests/support/close.h"
#include "tests/support/text.h"

namespace mixgrad::test {

TEST_CASE("pool: a block that is given back is the next of its size") {
  void* address = nullptr;
  {
    const Storage block = Storage::allocate(123456, kCpu);
    address = block.data();
    CHECK(block.bytes() == 123456);
    CHECK(block.device() == kCpu);
    CHECK(reinterpret_cast<std::uintptr_t>(address) % 64 == 0);
  }
  const std::int64_t allocations = pool_stats(kCpu).system_allocations;
  const Storage again = Storage::allocate(123456, kCpu);
  CHECK(again.data() == address);
  CHECK(pool_stats(kCpu).system_allocations == allocations);
}

TEST_CASE("pool: a block serves a little less than its size, but not much less or more") {
  pool_trim(kCpu);
  Storage::allocate(1 << 20, kCpu);  // given back at once
  const auto grows = [](std::size_t bytes) {
    const std::int64_t before = pool_stats(kCpu).system_allocations;
    Storage::allocate(bytes, kCpu);
    return pool_stats(kCpu).system_allocations > before;
  };
  CHECK(!grows((1 << 20) - 1000));
  CHECK(!grows((1 << 20) * 9 / 10));
  CHECK(grows((1 << 20) / 2));
  CHECK(grows((1 << 20) * 3 / 2));
}

TEST_CASE("pool: the last of several handles gives the block back") {
  const std::size_t before = pool_stats(kCpu).in_use;
  Storage a = Storage::allocate(5000, kCpu);
  CHECK(a.use_count() == 1);
  Storage b = a;
  Storage c = std::move(b);
  CHECK(a == c);
  CHECK(a.use_count() == 2);
  CHECK(!b);  // NOLINT(bugprone-use-after-move): moved from is empty
  a = Storage();
  CHECK(pool_stats(kCpu).in_use > before);
  const Storage& itself = c;
  c = itself;
  CHECK(c.use_count() == 1);
  c = Storage();
  CHECK(pool_stats(kCpu).in_use == before);
  CHECK(c.data() == nullptr);
}

TEST_CASE("pool: the statistics add up, and trim empties the cache") {
  pool_trim(kCpu);
  const PoolStats before = pool_stats(kCpu);
  CHECK(before.cached == 0);
  pool_reset_peak(kCpu);
  CHECK(pool_stats(kCpu).peak == before.in_use);
  {
    const Tensor a = Tensor::zeros({1000}, DType::f64);
    const Tensor b = Tensor::zeros({3000}, DType::f64);
    const PoolStats during = pool_stats(kCpu);
    CHECK(during.in_use >= before.in_use + 32000);
    CHECK(during.in_use <= before.in_use + 36000);
    CHECK(during.system_allocations == before.system_allocations + 2);
  }
  const PoolStats after = pool_stats(kCpu);
  CHECK(after.in_use == before.in_use);
  CHECK(after.cached >= 32000);
  CHECK(after.peak >= before.in_use + 32000);
  pool_trim(kCpu);
  CHECK(pool_stats(kCpu).cached == 0);
  CHECK(pool_stats(kCpu).in_use == before.in_use);
}

TEST_CASE("pool: a private pool keeps its blocks to itself, and outlives none of its tensors") {
  const PoolStats before = pool_stats(kCpu);
  Tensor last;
  {
    PrivatePool pool(kCpu);
    const void* address = nullptr;
    {
      const PrivatePool::Scope scope(pool);
      const Tensor first = Tensor::empty({1000}, DType::f64);
      address = first.raw();
      CHECK(pool_stats(kCpu).in_use >= before.in_use + 8000);
    }
    const Tensor outside = Tensor::empty({1000}, DType::f64);
    CHECK(outside.raw() != address);
    {
      const PrivatePool::Scope scope(pool);
      last = Tensor::empty({1000}, DType::f64);
    }
    CHECK(last.raw() == address);
    CHECK(pool_stats(kCpu).peak >= before.in_use + 16000);
  }
  last.fill(3);
  CHECK(last.at(999) == 3);
  last = Tensor();
  CHECK(pool_stats(kCpu).in_use == before.in_use);
}

TEST_CASE("pool: a growth can be made to fail, and the pool works on afterwards") {
  pool_trim(kCpu);
  pool_fail_at(kCpu, 3);
  const Tensor first = Tensor::empty({100}, DType::f64);
  first.set_role("gradients");
  const Tensor second = Tensor::empty({1, 20}, DType::f32);  // from here on in the order of their sizes
  const PoolStats stats = pool_stats(kCpu);
  const std::string text = error_text<OutOfMemory>([] { Tensor::empty({7, 111}, DType::f64); });
  CHECK(has(text, "out of memory on cpu: 6.1 KiB asked for (f64 [7,111]), " + bytes_text(stats.in_use) + " in use, " +
                      bytes_text(stats.cached) + " cached, "));
  CHECK(has(text, " free; the largest: gradients f64 [100] 800 bytes"));
  CHECK(text.ends_with("; free some of them, or compute less at once"));
  CHECK(pool_stats(kCpu).in_use == stats.in_use);
  CHECK_NOTHROW(Tensor::empty({777}, DType::f64));
  pool_fail_at(kCpu, 1);
  pool_fail_at(kCpu, 0);
  CHECK_NOTHROW(Tensor::empty({7777}, DType::f64));
}

TEST_CASE("pool: the three largest of many blocks are named, in their order") {
  const std::vector<Tensor> held{Tensor::empty({5'000'000}, DType::f64), Tensor::empty({6'000'000}, DType::f64),
                                 Tensor::empty({4'000'000}, DType::f64), Tensor::empty({7'000'000}, DType::f64)};
  pool_fail_at(kCpu, 1);
  const std::string text = error_text<OutOfMemory>([] { Tensor::empty({16'000'000}, DType::f64); });
  CHECK(has(text, "the largest: f64 [7000000] 53.4 MiB, f64 [6000000] 45.8 MiB, f64 [5000000] 38.1 MiB; free"));
}

TEST_CASE("pool: a trace replayed gives the statistics of the pool") {
  pool_trim(kCpu);
  const Tensor outside = Tensor::empty({100}, DType::f64);
  const PoolStats before = pool_stats(kCpu);
  pool_reset_peak(kCpu);
  PoolStats replayed;
  Tensor kept;
  {
    PoolTrace trace(kCpu);
    for (std::int64_t round = 0; round < 3; ++round) {
      const Tensor a = Tensor::empty({1000 + 100 * round}, DType::f64);
      kept = Tensor::empty({100'000, round + 1}, DType::f32);
      const Tensor b = a.clone();
    }
    replayed = replay_pool(trace.events);
    CHECK(trace.events.size() == 9 + 8);  // the last `kept` is not back yet
  }
  const PoolStats after = pool_stats(kCpu);
  CHECK(replayed.peak == after.peak - before.in_use);
  CHECK(replayed.in_use == after.in_use - before.in_use);
  CHECK(replayed.cached == after.cached);
  CHECK(replayed.system_allocations == after.system_allocations - before.system_allocations);
}

TEST_CASE("bytes_text") {
  CHECK(bytes_text(0) == "0 bytes");
  CHECK(bytes_text(1) == "1 byte");
  CHECK(bytes_text(1023) == "1023 bytes");
  CHECK(bytes_text(1024) == "1.0 KiB");
  CHECK(bytes_text((1U << 20U) - 1) == "1.0 MiB");
  CHECK(bytes_text(std::size_t{5} << 29U) == "2.5 GiB");
}

#if !defined(MIXGRAD_SANITIZED)  // the sanitizer's own allocator stops the program instead
TEST_CASE("pool: what the system refuses is OutOfMemory") {
  CHECK_THROWS_AS(Tensor::empty({std::int64_t{1} << 50}, DType::f64), OutOfMemory);
}
#endif

TEST_CASE("pool: a device that this build does not have is an error") {
  if constexpr (!build::has_cuda) {
    const Device cuda{Device::Kind::cuda, 1};
    CHECK(error_text<DeviceError>([&] { Tensor::empty({1}, DType::f32, cuda); }) ==
          std::string("allocate: this build has the device cpu only, got cuda:1; build with cmake --preset cuda"));
  }
}

TEST_CASE("pool: many threads may take and give back blocks") {
  const std::size_t before = pool_stats(kCpu).in_use;
  std::vector<std::thread> workers;
  std::atomic<int> wrong{0};
  for (int w = 0; w < 4; ++w) {
    workers.emplace_back([&wrong, w] {
      for (int i = 0; i < 2000; ++i) {
        const Tensor t = Tensor::full({16 + i % 7}, DType::i32, w);
        const Tensor same = t;
        if (same.at(i % 16) != w) ++wrong;
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  CHECK(wrong == 0);
  CHECK(pool_stats(kCpu).in_use == before);
}

TEST_CASE("pool: fresh memory is NaN in checked builds") {
  if constexpr (build::checked) {
    CHECK(std::isnan(Tensor::empty({3}, DType::f64).at(1)));
    CHECK(std::isnan(Tensor::empty({3}, DType::f32).at(1)));
    CHECK(std::isnan(Tensor::empty({3}, DType::bf16).at(1)));
    CHECK(Tensor::empty({3}, DType::i32).at(1) == -1);
  }
}

TEST_CASE("rng: Philox4x32-10 gives its published answer") {
  Rng rng(0);
  CHECK(rng.next() == std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(rng.counter() == 1);
}

TEST_CASE("rng: the state is (seed, counter), nothing else") {
  Rng a(42);
  for (int i = 0; i < 5; ++i) a.next();
  Rng b(42, 5);
  CHECK(a.next() == b.next());
  Rng c(43, 5);
  CHECK(a.next() != c.next());
  Rng high_seed(std::uint64_t{1} << 32U);
  Rng high_counter(0, std::uint64_t{1} << 32U);
  CHECK(high_seed.next() != Rng(0).next());
  CHECK(high_counter.next() != Rng(0).next());
}

TEST_CASE("rng: normal numbers take one counter for two, the same bits for every dtype and row view") {
  Rng rng(7);
  const Tensor five = Tensor::empty({5}, DType::f64);
  rng.fill_normal(five, 0, 1);
  CHECK(rng.counter() == 3);
  Rng again(7);
  const Tensor packed = Tensor::zeros({5, 3}, DType::f64);
  again.fill_normal(packed.column_view(1, 2), 0, 1);
  for (std::int64_t i = 0; i < 5; ++i) {
    CHECK(packed.at(3 * i + 1) == five.at(i));
    CHECK(packed.at(3 * i) == 0);
  }
  Rng single(7);
  const Tensor rounded = Tensor::empty({5}, DType::f32);
  single.fill_normal(rounded, 0, 1);
  CHECK(rounded.equal_bits(five.to(DType::f32)));
}

TEST_CASE("rng: normal numbers have the moments of the normal distribution") {
  const std::int64_t n = 200000;
  const Tensor x = Tensor::empty({n}, DType::f64);
  Rng rng(3);
  rng.fill_normal(x, 0, 1);
  std::array<double, 5> moments{};
  double neighbours = 0;
  double beyond_two = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    double power = 1;
    for (double& moment : moments) {
      moment += power / static_cast<double>(n);
      power *= x.at(i);
    }
    if (i > 0) neighbours += x.at(i) * x.at(i - 1) / static_cast<double>(n);
    if (std::abs(x.at(i)) > 2) beyond_two += 1.0 / static_cast<double>(n);
  }
  // Five standard errors each.
  const double root = std::sqrt(static_cast<double>(n));
  CHECK(std::abs(moments[1]) < 5 / root);
  CHECK(std::abs(moments[2] - 1) < 5 * std::sqrt(2.0) / root);
  CHECK(std::abs(moments[3]) < 5 * std::sqrt(15.0) / root);
  CHECK(std::abs(moments[4] - 3) < 5 * std::sqrt(96.0) / root);
  CHECK(std::abs(neighbours) < 5 / root);
  CHECK(std::abs(beyond_two - 0.0455003) < 5 * 0.2084 / root);
  rng.fill_normal(x, 10, 0.5);
  double mean = 0;
  for (const double v : x.to_vector()) mean += v / static_cast<double>(n);
  CHECK(std::abs(mean - 10) < 5 * 0.5 / root);
}

TEST_CASE("rng: uniform numbers lie in [low, high) and are spread evenly") {
  const Tensor x = Tensor::empty({100000}, DType::f64);
  Rng rng(4);
  rng.fill_uniform(x, -2, 3);
  std::array<int, 10> bins{};
  for (const double v : x.to_vector()) {
    REQUIRE(v >= -2);
    REQUIRE(v < 3);
    ++bins[static_cast<std::size_t>((v + 2) * 2)];
  }
  for (const int bin : bins) CHECK(std::abs(bin - 10000) < 5 * 95);
}

TEST_CASE("rng: below() reaches every value, never the bound, and has no bias") {
  Rng rng(5);
  for (int i = 0; i < 100; ++i) CHECK(rng.below(1) == 0);
  for (const std::uint64_t bound : {2U, 3U, 7U, 10U}) {
    std::array<double, 10> bins{};
    const int draws = 70000;
    for (int i = 0; i < draws; ++i) {
      const std::uint64_t value = rng.below(bound);
      REQUIRE(value < bound);
      bins[value] += 1;
    }
    const double expected = draws / static_cast<double>(bound);
    for (std::uint64_t v = 0; v < bound; ++v) CHECK(std::abs(bins[v] - expected) < 5 * std::sqrt(expected));
  }
  // 3/4 of the range: the plain remainder would give the first third half of the draws.
  const std::uint64_t quarter = std::uint64_t{1} << 62U;
  int low = 0;
  for (int i = 0; i < 30000; ++i) {
    const std::uint64_t value = rng.below(3 * quarter);
    REQUIRE(value < 3 * quarter);
    if (value < quarter) ++low;
  }
  CHECK(std::abs(low - 10000) < 5 * 82);
  for (int i = 0; i < 100; ++i) CHECK(rng.below(UINT64_MAX) < UINT64_MAX);
}

TEST_CASE("parallel: each task runs once, for any number of tasks and threads") {
  for (const int count : {1, 2, 3, 7}) {
    const Threads used(count);
    CHECK(threads() == count);
    for (const std::int64_t tasks : {0, 1, 2, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
      parallel_for(tasks, [&](std::int64_t i) { ++runs[static_cast<std::size_t>(i)]; });
      for (const auto& run : runs) CHECK(run == 1);
    }
  }
  parallel_for(-3, [](std::int64_t) { FAIL("there is no task"); });
}

}  // namespace mixgrad::test
