// Private to ops/matmul: what a product reads later, fetched into L2 by the micro-kernel between its multiply-adds.
//
// Fetched all at once it would fill the core's buffers for misses and hold up the loads of the multiply-adds; left to
// the moment of use, a block of A (pieces of rows, far apart, which hardware does not foresee) costs a tenth of a
// product. Fetches change no value; those past the end of a matrix do nothing.
#pragma once

#include <cstdint>

namespace mixgrad::cpu {

// The fetches of one call: `from`, then always `step` bytes further on. A step of 0, from what is read anyway: none.
struct Ahead {
  const char* from;
  std::int64_t step;
};

// A block of rows, in shares: each call of the kernel fetches one line of as many rows as it has fetches.
class AheadBlock {
 public:
  static constexpr std::int64_t kLineBytes = 64;

  AheadBlock() = default;  // nothing
  template <class In>
  AheadBlock(const In* from, std::int64_t ld, std::int64_t rows, std::int64_t columns)
      : from_(reinterpret_cast<const char*>(from)), pitch_(ld * static_cast<std::int64_t>(sizeof(In))), rows_(rows) {
    const auto offset = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(from) % kLineBytes);
    lines_ = (offset + columns * static_cast<std::int64_t>(sizeof(In)) + kLineBytes - 1) / kLineBytes;
  }

  bool empty() const { return rows_ <= 0; }

  Ahead next(std::int64_t fetches) {
    const Ahead share{from_ + line_ * kLineBytes, pitch_};
    if (++line_ == lines_) {
      line_ = 0;
      from_ += fetches * pitch_;
      rows_ -= fetches;
    }
    return share;
  }

 private:
  const char* from_ = nullptr;
  std::int64_t pitch_ = 0, rows_ = 0, lines_ = 0, line_ = 0;
};

}  // namespace mixgrad::cpu
