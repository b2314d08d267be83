// How kernels on the CPU pair each token with the one s before it: the whole sequence, or through the ring of its
// last inputs. One row of one head at a time, D/H channels.
#pragma once

#include <cstring>

#include "ops/shift/shift.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {

// Sizes of [B,T,D] cut in heads, each with its shift.
struct ShiftedHeads {
  std::int64_t steps, heads, channels;
  const std::int32_t* shift;

  ShiftedHeads(const Tensor& x, const Tensor& shifts)
      : steps(x.dim(1)),
        heads(shifts.numel()),
        channels(x.cols() / shifts.numel()),
        shift(shifts.data<std::int32_t>()) {}
};

// Row r, channels from c of head h, s tokens earlier; before the start null (zero) or the row itself (self).
template <class T>
const T* row_before(const Rows<T>& x, const ShiftedHeads& sizes, Boundary boundary, std::int64_t r, std::int64_t h) {
  const std::int64_t c = h * sizes.channels;
  if (r % sizes.steps >= sizes.shift[h]) return x[r - sizes.shift[h]] + c;
  return boundary == Boundary::self ? x[r] + c : nullptr;
}

// use(r, c, here, before) for each row and head of the next tokens of sequences whose history is in the ring; then the
// token overwrites that older one in the ring. Heads lie one after the other in the ring.
template <class T, class Use>
void through_ring(const Tensor& x, const Tensor& shifts, Boundary boundary, const Tensor& ring, std::int64_t position,
                  const Use& use) {
  const Rows<T> in(x);
  const Rows<T> rings(ring);
  const ShiftedHeads sizes(x, shifts);
  for (std::int64_t n = 0; n < x.dim(0); ++n) {
    T* slots = rings[n];
    for (std::int64_t h = 0; h < sizes.heads; ++h) {
      const std::int64_t c = h * sizes.channels;
      for (std::int64_t t = 0; t < sizes.steps; ++t) {
        const std::int64_t r = n * sizes.steps + t;
        const T* here = in[r] + c;
        T* slot = slots + (position + t) % sizes.shift[h] * sizes.channels;
        const bool started = position + t >= sizes.shift[h];
        use(r, c, here, started ? slot : (boundary == Boundary::self ? here : nullptr));
        std::memcpy(slot, here, static_cast<std::size_t>(sizes.channels) * sizeof(T));
      }
      slots += sizes.shift[h] * sizes.channels;
    }
  }
}

}  // namespace mixgrad::cpu
