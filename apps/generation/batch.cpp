#include "apps/generation/batch.h"

#include <algorithm>

#include "apps/generation/sample.h"
#include "core/system/interrupt.h"

namespace mixgrad::app {

void continue_prompts(const Decoder& model, const Tokenizer& tokenizer, const std::vector<Prompt>& prompts,
                      const StopTexts& stops, const BatchOptions& options, Speed& speed,
                      const std::function<void(std::size_t, const Continuation&)>& done) {
  const auto samples = static_cast<std::size_t>(options.samples);
  const std::size_t all = prompts.size() * samples;
  const auto batch = static_cast<std::size_t>(options.batch);
  bool told = false;
  for (std::size_t first = 0; first < all; first += batch) {
    std::vector<Continuation> rows;
    std::vector<std::uint64_t> seeds;
    std::vector<std::vector<std::int32_t>> starts;
    for (std::size_t n = first; n < std::min(first + batch, all); ++n) {
      starts.push_back(prompts[n / samples].tokens);
      rows.emplace_back(tokenizer, starts.back(), stops, options.tokens, prompts[n / samples].hidden);
      seeds.push_back(options.seed + n);
    }
    BatchGenerator generator(model, tokenizer.vocab_size(), options.sampling, seeds, options.log_probabilities);
    const auto ended = [](const Continuation& row) { return row.ended(); };
    if (!std::all_of(rows.begin(), rows.end(), ended)) generator.prompt(starts);
    speed.begin();
    while (!std::all_of(rows.begin(), rows.end(), ended)) {
      check_interrupt();
      const auto drawn = generator.next();
      for (std::size_t b = 0; b < rows.size(); ++b) {
        if (rows[b].ended() || drawn[b].id == BatchGenerator::kReading) continue;
        rows[b].next(drawn[b]);
        speed.count(1);
      }
      if (generator.restarted() && !told) say_restarted(model);
      told = told || generator.restarted();
    }
    speed.end();
    for (std::size_t b = 0; b < rows.size(); ++b) done(first + b, rows[b]);
  }
}

}  // namespace mixgrad::app
