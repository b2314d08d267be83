// What counting alone predicts: interpolated n-gram models, the yardstick for a trained one.
//
//   const std::vector<double> nats = ngram_losses(train, valid, {.symbols = 65, .longest = 6});   // nats[0]: 1-gram
//
// The probability of symbol w after the n - 1 symbols h before it is, with Witten-Bell's weights,
//   p_n(w|h) = (c(hw) + t(h) p_{n-1}(w|h')) / (c(h) + t(h)),   p_0(w) = 1 / symbols
// where c counts occurrences in the training part, t(h) is how many different symbols follow h there, and h' is h
// without its first symbol. After an h that never occurred, p_n = p_{n-1}; so at the first symbols of the validation
// part. (Ian H. Witten, Timothy C. Bell: The zero-frequency problem, 1991.)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mixgrad {

struct NgramOptions {
  std::int64_t symbols = 0;  // of the uniform distribution at the bottom: those of both parts
  int longest = 6;
};

// The mean of -ln p_n over the symbols of `valid`, for n = 1 .. longest. Exact counts: time and memory are linear in
// the training part, about 40 bytes a symbol. ValueError: a part is empty. Ends with Interrupted on a stop request.
std::vector<double> ngram_losses(std::span<const std::int32_t> train, std::span<const std::int32_t> valid,
                                 const NgramOptions& options);

// How many different ids occur in the two parts together; ids are below 2^31.
std::int64_t count_symbols(std::span<const std::int32_t> train, std::span<const std::int32_t> valid);

}  // namespace mixgrad
