// `eval --per-token` and `eval --by-position`: the losses of single tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "apps/output/table.h"
#include "nn/evaluation/token_losses.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad::app {

// Prints {"index","token","text","loss"}, a line for each token, as they come.
std::function<void(const TokenLoss&)> token_printer(const Tokenizer& tokenizer);

class LossByPosition {
 public:
  void add(const TokenLoss& token) {
    PartialSum& sum = sums_[token.position];
    sum.sum += token.loss;
    ++sum.count;
  }
  // Each position on its own in JSON and CSV; for people in spans that double: 1, 2, 3-4, 5-8, ...
  void print(Format format) const;

 private:
  std::map<std::int64_t, PartialSum> sums_;  // position, from 1: the tokens before it in its window
};

}  // namespace mixgrad::app
