#include "apps/study/decoding_cost.h"

#include <algorithm>

#include "apps/output/clock.h"
#include "core/allocator.h"
#include "core/context.h"
#include "core/system/interrupt.h"

namespace mixgrad::app {
namespace {

constexpr std::int64_t kTimedTokens = 48;

}  // namespace

std::vector<DecodingCost> decoding_costs(const ModelConfig& config, const std::vector<std::int64_t>& lengths) {
  const ContextScope scope(with_threads(1));
  std::vector<DecodingCost> costs;
  for (const std::int64_t tokens : lengths) {
    check_interrupt();
    ModelConfig longer = config;
    longer.context = std::max(config.context, tokens + kTimedTokens);
    Decoder model(longer, {DType::f32, kCpu});
    model.parameters().initialize(1);
    const Tensor prompt = Tensor::empty({1, tokens}, DType::i32);
    for (std::int64_t t = 0; t < tokens; ++t) prompt.set(t, static_cast<double>(t * 7919 % config.vocab_size));
    DecoderState state = model.new_state(1, tokens + kTimedTokens);
    pool_reset_peak(kCpu);
    const std::size_t before = pool_stats(kCpu).in_use;
    DecodingCost cost{.tokens = tokens};
    for (int round = 0; round < 2; ++round) {
      state.reset();
      const double start = now();
      static_cast<void>(model.prefill(prompt, state));
      const double taken = 1e3 * (now() - start);
      cost.prefill_ms = round == 0 ? taken : std::min(cost.prefill_ms, taken);
    }
    cost.peak_bytes = pool_stats(kCpu).peak - before;
    std::vector<double> times;
    const Tensor token = Tensor::zeros({1, 1}, DType::i32);
    for (std::int64_t t = 0; t < kTimedTokens; ++t) {
      const double begin = now();
      static_cast<void>(model.step(token, state));
      times.push_back(1e6 * (now() - begin));
    }
    std::sort(times.begin(), times.end());
    cost.us_per_token = times.front();
    cost.state_bytes = state.bytes();
    cost.formula_bytes = decoding_bytes(config, tokens + kTimedTokens, DType::f32);
    costs.push_back(cost);
  }
  return costs;
}

}  // namespace mixgrad::app
