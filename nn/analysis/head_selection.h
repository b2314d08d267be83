// Which heads of a model an analysis looks at, and of what kind the heads of a layer are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "nn/model/decoder.h"

namespace mixgrad {

struct HeadSelection {
  static constexpr std::int64_t kAll = -1;
  std::int64_t layer = kAll;  // counted from 0
  std::int64_t head = kAll;   // of the layer, counted from 0

  bool takes_layer(std::size_t l) const { return layer == kAll || layer == static_cast<std::int64_t>(l); }
  bool takes_head(std::int64_t h) const { return head == kAll || head == h; }
  bool takes(std::size_t l, std::int64_t h) const { return takes_layer(l) && takes_head(h); }
};

// ValueError when the model has no such layer, or none of the layers that are selected has such a head.
void check_selection(const Decoder& model, const HeadSelection& selection);

// All heads of a layer, of whatever kind.
std::int64_t head_count(const Decoder& model, std::size_t layer);

// The number in its layer of each softmax head, in the order of Decoder::recency.
std::vector<std::int64_t> softmax_head_numbers(const Decoder& model, std::size_t layer);

}  // namespace mixgrad
