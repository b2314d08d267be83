// How likely a model takes given texts to be.
//
//   const std::vector<Likelihood> all = likelihoods(model, {{.context = encode("2 + 2 ="), .continuation = encode("
//   4")}}); all[0].log_probability;  // log P(continuation | context)
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "nn/model/decoder.h"

namespace mixgrad {

struct LikelihoodQuery {
  std::vector<std::int32_t> context;       // at least one token
  std::vector<std::int32_t> continuation;  // at least one token
};

struct Likelihood {
  double log_probability = 0;  // natural, summed over the continuation
  bool likeliest = true;       // greedy decoding would give the continuation
  std::int64_t tokens = 0;     // of the continuation
};

// One for each query, in their order; at most `batch` at a time, padded at the end, which nothing before it sees. A
// query longer than the model's context: softmax layers see the last `context` tokens, as in generation; with learned
// positions it is read in windows of the context that begin half of it apart. NotFinite (nn/modules/finite_values.h);
// Interrupted (core/system/interrupt.h).
std::vector<Likelihood> likelihoods(const Decoder& model, const std::vector<LikelihoodQuery>& queries,
                                    std::int64_t batch = 16);

}  // namespace mixgrad
