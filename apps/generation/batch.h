// Several continuations side by side: each of several prompts several times.
//
//   std::vector<Continuation> all = continue_prompts(model, tokenizer, prompts, stops, {.samples = 3}, speed);
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "apps/generation/continuation.h"
#include "apps/generation/prompt.h"
#include "apps/generation/speed.h"
#include "nn/model/decoder.h"

namespace mixgrad::app {

struct BatchOptions {
  std::int64_t tokens = 200, samples = 1;
  std::int64_t batch = 16;  // sequences at a time
  std::uint64_t seed = 1;   // of the first continuation; each has the one that follows
  SamplingOptions sampling = {};
  BatchGenerator::LogProbabilities log_probabilities = BatchGenerator::LogProbabilities::no;
};

// The continuation number n, counted from 0, is that of prompt n / samples. Each is handed on when its batch is done,
// in their order. NotFinite as BatchGenerator::next; Interrupted (core/system/interrupt.h).
void continue_prompts(const Decoder& model, const Tokenizer& tokenizer, const std::vector<Prompt>& prompts,
                      const StopTexts& stops, const BatchOptions& options, Speed& speed,
                      const std::function<void(std::size_t number, const Continuation& continuation)>& done);

}  // namespace mixgrad::app
