// The factors of a dropout on the CPU, many elements at a time; also for the probabilities of attention.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/numeric/dropout_mask.h"

namespace mixgrad::cpu {

inline constexpr std::int64_t kDropoutBlocks = 64;  // of four elements, computed together

// bits of the blocks [first, first + kDropoutBlocks), four words each: random_bits in a form that compilers turn into
// vector instructions. `stream` is mask.stream().
inline void dropout_words(const DropoutMask& mask, std::uint64_t stream, std::uint64_t first,
                          std::array<std::uint32_t, 4 * kDropoutBlocks>& words) {
  constexpr std::uint32_t kMultiplier0 = 0xD2511F53;
  constexpr std::uint32_t kMultiplier1 = 0xCD9E8D57;
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9;
  constexpr std::uint32_t kWeyl1 = 0xBB67AE85;
  constexpr int kRounds = 10;
  std::array<std::uint32_t, kDropoutBlocks> w0, w1, w2, w3;  // NOLINT(readability-isolate-declaration)
  const auto key0 = static_cast<std::uint32_t>(mask.seed);
  const auto key1 = static_cast<std::uint32_t>(mask.seed >> 32U);
#pragma omp simd
  for (std::size_t b = 0; b < kDropoutBlocks; ++b) {
    const std::uint64_t counter = mask.counter(first + b);
    auto a = static_cast<std::uint32_t>(counter);
    auto c = static_cast<std::uint32_t>(counter >> 32U);
    auto d = static_cast<std::uint32_t>(stream);
    auto e = static_cast<std::uint32_t>(stream >> 32U);
    std::uint32_t k0 = key0;
    std::uint32_t k1 = key1;
    for (int round = 0; round < kRounds; ++round) {
      const std::uint64_t p0 = std::uint64_t{kMultiplier0} * a;
      const std::uint64_t p1 = std::uint64_t{kMultiplier1} * d;
      a = static_cast<std::uint32_t>(p1 >> 32U) ^ c ^ k0;
      c = static_cast<std::uint32_t>(p1);
      d = static_cast<std::uint32_t>(p0 >> 32U) ^ e ^ k1;
      e = static_cast<std::uint32_t>(p0);
      k0 += kWeyl0;
      k1 += kWeyl1;
    }
    w0[b] = a;
    w1[b] = c;
    w2[b] = d;
    w3[b] = e;
  }
  for (std::size_t b = 0; b < kDropoutBlocks; ++b) {
    words[4 * b] = w0[b];
    words[4 * b + 1] = w1[b];
    words[4 * b + 2] = w2[b];
    words[4 * b + 3] = w3[b];
  }
}

// use(i, factors, count) for pieces of the elements [first, first + count): factors[n] of element first + i + n, 0 for
// one that is left out.
template <class A, class Use>
void for_dropout_factors(const DropoutMask& mask, std::uint64_t stream, std::uint64_t first, std::int64_t count,
                         const Use& use) {
  std::array<std::uint32_t, 4 * kDropoutBlocks> words;
  std::array<A, 4 * kDropoutBlocks> factors;
  const A scale = static_cast<A>(mask.scale());
  const std::uint32_t threshold = mask.threshold;
  for (std::int64_t i = 0; i < count;) {
    const std::uint64_t element = first + static_cast<std::uint64_t>(i);
    const auto skipped = static_cast<std::int64_t>(element % 4);
    dropout_words(mask, stream, element / 4, words);
    const std::int64_t here = std::min<std::int64_t>(count - i, 4 * kDropoutBlocks - skipped);
#pragma omp simd
    for (std::int64_t n = 0; n < here; ++n) {
      factors[static_cast<std::size_t>(n)] = words[static_cast<std::size_t>(skipped + n)] >= threshold ? scale : A(0);
    }
    use(i, factors.data(), here);
    i += here;
  }
}

}  // namespace mixgrad::cpu
