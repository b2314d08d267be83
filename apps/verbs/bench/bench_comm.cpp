#include "apps/verbs/bench/bench_comm.h"

#include <algorithm>
#include <span>
#include <vector>

#include "apps/output/clock.h"
#include "apps/output/table.h"
#include "core/error.h"
#include "nn/distributed/device_sums.h"

namespace mixgrad::app {
namespace {

constexpr std::int64_t kSmallest = 4096, kLargest = std::int64_t{64} << 20U;  // bytes
constexpr std::int64_t kLargestOnDevice = std::int64_t{1} << 30U;
constexpr int kUntimed = 3;

// Milliseconds: the median of `rounds` sums, each begun by all ranks together.
double median_ms(Communicator& ranks, const Tensor& values, const ReduceOptions& how, std::int64_t rounds) {
  std::vector<double> times;
  for (std::int64_t i = 0; i < rounds + kUntimed; ++i) {
    values.fill(1);
    ranks.meet("the next sum");
    const double start = now();
    ranks.sum(values, how);
    if (i >= kUntimed) times.push_back(1e3 * (now() - start));
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

// The same on a device, whose sums are queued several at a time, as the pieces of a step are.
double device_median_ms(Communicator& ranks, const Tensor& values, DType sent, std::int64_t rounds) {
  constexpr int kTogether = 8;
  DeviceSums& sums = ranks.on_device(values.device());
  sums.reserve(values.numel(), sent);
  const DeviceSums::Summand whole[] = {{values}};
  std::vector<double> times;
  for (std::int64_t i = 0; i < rounds + kUntimed; ++i) {
    values.fill(0);
    sums.wait("the numbers to sum");
    ranks.meet("the next sum");
    const double start = now();
    for (int sum = 0; sum < kTogether; ++sum) sums.add_up(whole, sent);
    sums.join();
    sums.wait("a sum");
    if (i >= kUntimed) times.push_back(1e3 * (now() - start) / kTogether);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

// Bytes that each rank sends in a sum.
double sent_bytes(const Communicator& ranks, std::int64_t bytes) {
  return 2.0 * (ranks.size() - 1) / ranks.size() * static_cast<double>(bytes);
}

void on_hosts(Communicator& ranks, std::int64_t rounds, bool json) {
  Table table(format_of(json),
              {{.key = "bytes", .number = true, .width = 10},
               {.key = "any_ms", .title = "any order ms", .number = true, .format = "%.3f", .width = 13},
               {.key = "rank_ms", .title = "rank order ms", .number = true, .format = "%.3f", .width = 14},
               {.key = "bf16_ms", .title = "bf16 ms", .number = true, .format = "%.3f", .width = 10},
               {.key = "any_gb_per_s", .title = "any GB/s", .number = true, .format = "%.3f", .width = 9},
               {.key = "ranks", .number = true, .width = 6},
               {.key = "transport", .shown = ShownIn::json}});
  for (std::int64_t bytes = kSmallest; bytes <= kLargest; bytes *= 4) {
    const Tensor values = Tensor::empty({bytes / 4}, DType::f32);
    const double any = median_ms(ranks, values, {}, rounds);
    const double ordered = median_ms(ranks, values, {.order = ReduceOrder::rank}, rounds);
    const double half = median_ms(ranks, values, {.dtype = DType::bf16}, rounds);
    if (ranks.leads()) {
      table.add({bytes, any, ordered, half, sent_bytes(ranks, bytes) / any / 1e6, ranks.size(), ranks.transport()});
    }
  }
  if (ranks.leads()) table.finish();
}

void on_devices(Communicator& ranks, Device device, std::int64_t rounds, bool json) {
  Table table(format_of(json),
              {{.key = "bytes", .number = true, .width = 10},
               {.key = "f32_ms", .title = "f32 ms", .number = true, .format = "%.4f", .width = 10},
               {.key = "bf16_ms", .title = "bf16 ms", .number = true, .format = "%.4f", .width = 10},
               {.key = "f32_gb_per_s", .title = "f32 GB/s", .number = true, .format = "%.1f", .width = 9},
               {.key = "ranks", .number = true, .width = 6},
               {.key = "transport", .shown = ShownIn::json}});
  for (std::int64_t bytes = kSmallest; bytes <= kLargestOnDevice; bytes *= 4) {
    const Tensor values = Tensor::empty({bytes / 4}, DType::f32, device);
    const double whole = device_median_ms(ranks, values, DType::f32, rounds);
    const double half = device_median_ms(ranks, values, DType::bf16, rounds);
    if (ranks.leads()) {
      table.add({bytes, whole, half, sent_bytes(ranks, bytes) / whole / 1e6, ranks.size(),
                 ranks.on_device(device).library()});
    }
  }
  if (ranks.leads()) table.finish();
}

}  // namespace

void bench_comm(Communicator& ranks, const PlacementOptions& placement, std::int64_t rounds, bool json) {
  if (ranks.alone()) {
    raise<ValueError>(
        "bench comm: several processes are required; got one; start it with mpirun -n 2 mixgrad bench comm, "
        "or with torchrun");
  }
  PlacementOptions usual;
  if (placement.device == "cuda") usual.device = "cuda";
  if (!(placement == usual)) {
    raise<ValueError>("bench comm: it times sums of f32, and no product; got --device ", placement.device,
                      ", --precision ", placement.precision, " and --matmul-precision ", placement.matmul_precision,
                      "; leave them out, or give --device cuda alone");
  }
  if (placement.where().is_cuda()) return on_devices(ranks, placement.where(), rounds, json);
  on_hosts(ranks, rounds, json);
}

}  // namespace mixgrad::app
