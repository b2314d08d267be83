#include "nn/mixers/key_value_ring.h"

#include "ops/attention/attention.h"

namespace mixgrad {
namespace {

// Rows [first, first + n) of each sequence of x [B,*,W], copied.
Tensor some_rows(const Tensor& x, std::int64_t first, std::int64_t n) {
  const Tensor some = Tensor::empty({x.dim(0), n, x.dim(2)}, x.dtype(), x.device());
  for (std::int64_t b = 0; b < x.dim(0); ++b) {
    some.slice(b, b + 1)
        .reshape({n, x.dim(2)})
        .copy_from(x.slice(b, b + 1).reshape({x.dim(1), x.dim(2)}).slice(first, first + n));
  }
  return some;
}

// Step t of each sequence of `to` [B,T,W] becomes x [B,1,W].
void write_step(const Tensor& to, std::int64_t t, const Tensor& x) {
  for (std::int64_t b = 0; b < x.dim(0); ++b) {
    const Tensor row = to.slice(b, b + 1).reshape({to.dim(1), to.dim(2)}).slice(t, t + 1);
    row.copy_from(x.slice(b, b + 1).reshape({1, x.dim(2)}));
  }
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

Tensor KeyValueRing::append(const Tensor& q, const Tensor& k, const Tensor& v, TokenPosition first,
                            const Attend& attend) const {
  const std::int64_t steps = q.dim(1);
  const std::int64_t r = rows_per_token;
  const std::int64_t capacity = keys.dim(1) / r;
  if (steps == 1 || first.host + steps <= capacity) {
    attention_append(k, v, keys, values, first, r);
    return attend(q, first);
  }
  // Past the end of the ring a chunk's later keys would overwrite what its earlier queries see: token by token.
  Tensor out = Tensor::empty(q.shape(), q.dtype(), q.device());
  for (std::int64_t t = 0; t < steps; ++t) {
    const TokenPosition position{first.host + t, first.device};
    attention_append(some_rows(k, t * r, r), some_rows(v, t * r, r), keys, values, position, r);
    write_step(out, t, attend(some_rows(q, t, 1), position));
  }
  return out;
}

std::unique_ptr<MixerState> KeyValueState::clone() const {
  auto copy = std::make_unique<KeyValueState>(*this);
  copy->ring = ring.clone();
  return copy;
}

}  // namespace mixgrad
