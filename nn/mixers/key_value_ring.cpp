#include "nn/mixers/key_value_ring.h"

#include <algorithm>

#include "ops/attention/attention.h"

namespace mixgrad {
namespace {

// Rows [first, first + n) of sequence b of x [B,*,W].
Tensor rows_of(const Tensor& x, std::int64_t b, std::int64_t first, std::int64_t n) {
  return x.slice(b, b + 1).reshape({x.dim(1), x.dim(2)}).slice(first, first + n);
}

// Rows [first, first + n) of each sequence of x [B,*,W], copied.
Tensor some_rows(const Tensor& x, std::int64_t first, std::int64_t n) {
  const Tensor some = Tensor::empty({x.dim(0), n, x.dim(2)}, x.dtype(), x.device());
  for (std::int64_t b = 0; b < x.dim(0); ++b) rows_of(some, b, 0, n).copy_from(rows_of(x, b, first, n));
  return some;
}

}  // namespace

KeyValueRing::KeyValueRing(std::int64_t batch, std::int64_t tokens, std::int64_t rows, std::int64_t width,
                           Placement placement)
    : keys(Tensor::empty({batch, tokens * rows, width}, placement)),
      values(Tensor::empty({batch, tokens * rows, width}, placement)),
      rows_per_token(rows) {}

KeyValueRing KeyValueRing::clone() const {
  KeyValueRing copy;
  copy.keys = keys.clone();
  copy.values = values.clone();
  copy.rows_per_token = rows_per_token;
  return copy;
}

// The rows of the last `kept` tokens before `first` in their order, then those of the fresh ones.
Tensor KeyValueRing::last_and(const Tensor& ring, const Tensor& fresh, std::int64_t first, std::int64_t kept) const {
  const std::int64_t capacity = ring.dim(1) / rows_per_token;
  const std::int64_t rows = kept * rows_per_token;
  const std::int64_t oldest = (first - kept) % capacity * rows_per_token;
  const std::int64_t to_end = std::min(rows, ring.dim(1) - oldest);  // then the rest, from the ring's beginning
  const Tensor all = Tensor::empty({ring.dim(0), rows + fresh.dim(1), ring.dim(2)}, ring.dtype(), ring.device());
  for (std::int64_t b = 0; b < ring.dim(0); ++b) {
    rows_of(all, b, 0, to_end).copy_from(rows_of(ring, b, oldest, to_end));
    if (rows > to_end) rows_of(all, b, to_end, rows - to_end).copy_from(rows_of(ring, b, 0, rows - to_end));
    rows_of(all, b, rows, fresh.dim(1)).copy_from(rows_of(fresh, b, 0, fresh.dim(1)));
  }
  return all;
}

Tensor KeyValueRing::append(const Tensor& k, const Tensor& v, TokenPosition first, const Attend& attend) const {
  const std::int64_t r = rows_per_token;
  const std::int64_t steps = k.dim(1) / r;
  const std::int64_t capacity = keys.dim(1) / r;
  if (steps == 1 || first.host + steps <= capacity) {
    attention_append(k, v, keys, values, first, r);
    return attend({keys, values, first, 0});
  }
  // Past the end of the ring a piece's later keys would overwrite what its earlier queries see: the ring is laid out
  // straight before them. A query sees at most the capacity - 1 tokens before it.
  const std::int64_t kept = std::min(first.host, capacity - 1);
  const Tensor out =
      kept == 0 ? attend({k, v, 0, capacity})
                : attend({last_and(keys, k, first.host, kept), last_and(values, v, first.host, kept), kept, capacity});
  const std::int64_t fit = std::min(steps, capacity);
  const std::int64_t skipped = steps - fit;
  const auto last = [&](const Tensor& x) { return skipped == 0 ? x : some_rows(x, skipped * r, fit * r); };
  attention_append(last(k), last(v), keys, values, first.host + skipped, r);
  return out;
}

std::vector<KeyValueRing> clone(const std::vector<KeyValueRing>& rings) {
  std::vector<KeyValueRing> copies;
  for (const KeyValueRing& ring : rings) copies.push_back(ring.clone());
  return copies;
}

std::size_t bytes_of(const std::vector<KeyValueRing>& rings) {
  std::size_t total = 0;
  for (const KeyValueRing& ring : rings) total += ring.bytes();
  return total;
}

std::unique_ptr<MixerState> KeyValueState::clone() const {
  auto copy = std::make_unique<KeyValueState>(*this);
  copy->rings = mixgrad::clone(rings);
  return copy;
}

}  // namespace mixgrad
