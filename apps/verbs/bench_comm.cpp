#include "apps/verbs/bench_comm.h"

#include <algorithm>
#include <vector>

#include "apps/output/clock.h"
#include "apps/output/table.h"
#include "core/error.h"

namespace mixgrad::app {
namespace {

constexpr std::int64_t kSmallest = 4096, kLargest = std::int64_t{64} << 20U;  // bytes
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

}  // namespace

void bench_comm(Communicator& ranks, const PlacementOptions& placement, std::int64_t rounds, bool json) {
  if (ranks.alone()) {
    raise<ValueError>(
        "bench comm: several processes are required; got one; start it with mpirun -n 2 mixgrad bench comm");
  }
  if (!(placement == PlacementOptions())) {
    raise<ValueError>("bench comm: it times sums of f32 on the host, and no product; got --device ", placement.device,
                      ", --precision ", placement.precision, " and --matmul-precision ", placement.matmul_precision,
                      "; leave them out");
  }
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
    const double sent = 2.0 * (ranks.size() - 1) / ranks.size() * static_cast<double>(bytes);
    if (ranks.leads()) table.add({bytes, any, ordered, half, sent / any / 1e6, ranks.size(), ranks.transport()});
  }
  if (ranks.leads()) table.finish();
}

}  // namespace mixgrad::app
