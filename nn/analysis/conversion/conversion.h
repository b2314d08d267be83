// A trained model with some of its softmax groups replaced: by Mamba heads (RecurFormer), or, as controls, by softmax
// heads with a window or by shift heads.
//   const ModelConfig config = converted_config(model.config(), groups, {.to = HeadTarget::recurformer});
//   Decoder converted(config, placement);
//   converted.parameters().initialize(seed);
//   copy_kept_parameters(model, converted);
// Everything that the two models share is copied as it is, bit for bit: embeddings, norms, MLPs, o, and of qkv the rows
// of the groups that stay. The replaced heads keep their slots, so that o reads them where it read the old ones.
#pragma once

#include <vector>

#include "nn/analysis/softmax_groups.h"
#include "nn/config/enum_names.h"

namespace mixgrad {

enum class HeadTarget : std::uint8_t { recurformer, window, shift };
template <>
const std::vector<std::string>& enum_names<HeadTarget>();

struct ConversionOptions {
  HeadTarget to = HeadTarget::recurformer;
  std::int64_t expand = 1;   // of the Mamba heads
  std::int64_t window = 64;  // tokens that a group with a window sees
};

// ValueError when a group is no softmax group, or when a layer cannot hold what it becomes: Mamba heads of another
// expand, or a second window, beside those that it has.
ModelConfig converted_config(const ModelConfig& config, const std::vector<GroupId>& groups,
                             const ConversionOptions& options);

// Copies into `to`, whose configuration is a converted one of that of `from`; what is new in `to` stays as it is. Both
// lie on one device and have one dtype.
void copy_kept_parameters(const Decoder& from, Decoder& to);

// A head of `to` that `from` has as a softmax head, and where it stands in both.
struct ReplacedHead {
  GroupId group;             // in both models
  std::int64_t head = 0;     // its number in the layer
  std::int64_t softmax = 0;  // which of the layer's softmax heads it is in `from`
  std::int64_t value = 0;    // which of the layer's softmax groups its values are in `from`
  std::int64_t index = 0;    // which of the layer's Mamba heads, or shift heads, it is in `to`
};
std::vector<ReplacedHead> replaced_heads(const ModelConfig& from, const ModelConfig& to, HeadTarget kind);

}  // namespace mixgrad
