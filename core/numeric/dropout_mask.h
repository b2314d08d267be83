// Which elements a dropout leaves out: a function of seed, step, micro-batch, place and element, that is computed where
// it is needed and never stored. The same on the host and on a CUDA device, for any number of threads.
//
//   const DropoutMask mask = DropoutMask::of(0.2, seed).in_step(step, parts, part).at(place);
//   if (keeps(mask, i)) y = x * mask.scale();             // and 0 otherwise (core/numeric/dropout_bits.h)
//
// Element i takes word i % 4 of the 128 bits of Philox for the counter floor(i / 4) + place 2^48 and the stream
// step parts + part + 1; it is left out when the word is below rate 2^32. Streams of 0 belong to core/rng.h.
#pragma once

#include <cstdint>

#include "core/numeric/vec_math.h"

namespace mixgrad {

struct DropoutMask {
  static constexpr std::uint32_t kPlaces = 1U << 16U;

  std::uint64_t seed = 0;
  // Where kernels of a CUDA device find the step, in memory of the device: a step that is captured as a graph is
  // replayed for later steps. `draw` is then the micro-batch alone.
  const std::int64_t* device_step = nullptr;
  std::uint64_t draw = 0;       // step parts + part
  std::uint64_t parts = 1;      // micro-batches of a step
  std::uint32_t threshold = 0;  // rate 2^32; 0: nothing is left out, and no operator need be called
  std::uint32_t place = 0;      // in the model, below kPlaces

  // rate in [0,1), to the nearest 2^-32, and at least that unless it is 0.
  static DropoutMask of(double rate, std::uint64_t seed) {
    const double scaled = rate * 0x1p32 + 0.5;
    DropoutMask mask;
    mask.seed = seed;
    if (rate > 0)
      mask.threshold = scaled < 1 ? 1 : (scaled > 0xffffffff ? 0xffffffffU : static_cast<std::uint32_t>(scaled));
    return mask;
  }
  DropoutMask in_step(std::int64_t step, std::int64_t of_parts, std::int64_t part) const {
    DropoutMask mask = *this;
    mask.draw =
        static_cast<std::uint64_t>(step) * static_cast<std::uint64_t>(of_parts) + static_cast<std::uint64_t>(part);
    mask.parts = static_cast<std::uint64_t>(of_parts);
    return mask;
  }
  // The same for the step that stands in memory of the device.
  DropoutMask in_step_at(const std::int64_t* step, std::int64_t of_parts, std::int64_t part) const {
    DropoutMask mask = in_step(0, of_parts, part);
    mask.device_step = step;
    return mask;
  }
  DropoutMask at(std::uint32_t another_place) const {
    DropoutMask mask = *this;
    mask.place = another_place;
    return mask;
  }

  MIXGRAD_HD bool active() const { return threshold != 0; }
  // What a kept element is multiplied by: 1 / (1 - rate).
  MIXGRAD_HD double scale() const { return 1.0 / (1.0 - static_cast<double>(threshold) * 0x1p-32); }
  // Reads the step: with device_step only in kernels of that device.
  MIXGRAD_HD std::uint64_t stream() const {
    return (device_step == nullptr ? 0 : static_cast<std::uint64_t>(*device_step) * parts) + draw + 1;
  }
  MIXGRAD_HD std::uint64_t counter(std::uint64_t block) const {
    return block + (static_cast<std::uint64_t>(place) << 48U);
  }
  MIXGRAD_HD bool keeps_word(std::uint32_t word) const { return word >= threshold; }
};

}  // namespace mixgrad
