// The bits by which a dropout_mask.h decides. Not installed: it needs Random123, which users of the library do not.
#pragma once

#include "core/numeric/dropout_mask.h"
#include "core/numeric/philox.h"

namespace mixgrad {

// Of the elements 4 block ... 4 block + 3; `stream` is mask.stream().
inline MIXGRAD_HD RandomBits dropout_bits(const DropoutMask& mask, std::uint64_t stream, std::uint64_t block) {
  return random_bits(mask.seed, mask.counter(block), stream);
}

inline MIXGRAD_HD bool keeps(const DropoutMask& mask, std::uint64_t element) {
  const RandomBits all = dropout_bits(mask, mask.stream(), element / 4);
  const unsigned which = static_cast<unsigned>(element % 4);
  const std::uint32_t low = which == 0 ? all.words[0] : all.words[1];
  const std::uint32_t high = which == 2 ? all.words[2] : all.words[3];
  return mask.keeps_word(which < 2 ? low : high);
}

}  // namespace mixgrad
