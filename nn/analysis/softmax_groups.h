// The softmax groups of a model: key/value heads with their query heads, the unit in which heads are analysed and
// replaced.
//   for (const SoftmaxGroup& group : softmax_groups(model.config())) ...       ordered by (layer, group)
// Those of a layer under a shortcut are none: their keys are those of other layers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/model/decoder.h"

namespace mixgrad {

struct GroupId {
  std::int64_t layer = 0;
  std::int64_t group = 0;  // of all key/value groups of the layer
  friend bool operator==(const GroupId&, const GroupId&) = default;
  friend auto operator<=>(const GroupId&, const GroupId&) = default;  // NOLINT(modernize-use-nullptr): it has none
};

struct SoftmaxGroup {
  GroupId id;
  std::vector<std::int64_t> heads{};  // their numbers in the layer, ascending
  std::int64_t first_head = 0;        // of its heads, counted among the softmax heads of the layer
  std::int64_t index = 0;             // of the group among the softmax groups of the layer
  std::int64_t window = 0;            // tokens that its queries see; 0: all
};

std::vector<SoftmaxGroup> softmax_groups(const ModelConfig& config);

// Where the rows of a layer's softmax groups stand in PREFIX.qkv: `heads` query heads, then `groups` keys, then values,
// each of head_dim rows.
struct QkvRows {
  std::int64_t heads = 0, groups = 0, head_dim = 0;

  std::int64_t query(std::int64_t head) const { return head * head_dim; }
  std::int64_t key(std::int64_t group) const { return (heads + group) * head_dim; }
  std::int64_t value(std::int64_t group) const { return (heads + groups + group) * head_dim; }
};
QkvRows qkv_rows(const ModelConfig& config, std::int64_t layer);

std::string mixer_prefix(std::int64_t layer);  // "layers.3.mixer."

}  // namespace mixgrad
