// Which shift s, in tokens, each head of each shift-mixing layer has.
//
//   l = 0, 1, ... counts the shift-mixing layers only, L is their number, h the head, P = max(1, ceil(log2 context))
//   doubling   2^((l+h) mod P)             1, 2, 4, ... from layer to layer, wrapping when the context is covered
//   reversed   2^((L-1-l+h) mod P)         the same layers from last to first: the last one shifts by 1
//   per_head   2^(h mod P)                 every layer alike, the heads differ
//   a list     list[(l+h) mod its length]  as "3|9|27"
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mixgrad {

struct ShiftSchedule {
  enum class Kind : std::uint8_t { doubling, reversed, per_head, list };
  Kind kind = Kind::doubling;
  std::vector<std::int64_t> list{};

  std::int64_t shift(std::int64_t layer, std::int64_t layers, std::int64_t head, std::int64_t context) const;
  std::vector<std::int64_t> shifts(std::int64_t layer, std::int64_t layers, std::int64_t heads,
                                   std::int64_t context) const;
};

// "doubling", "3|9|27": ValueError, naming the `mixer` whose option it is, for what is neither a name nor such a list.
ShiftSchedule parse_shift_schedule(std::string_view text, const std::string& mixer);

// "1|2|4|8": ValueError where a number is not from 1 to kMaxContext.
std::vector<std::int64_t> parse_shifts(std::string_view text);

// The doubling schedule's shift; of the l-th layer and head h.
std::int64_t default_shift(std::int64_t layer, std::int64_t head, std::int64_t context);

}  // namespace mixgrad
