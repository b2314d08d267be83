// Which softmax groups of a model are to be replaced: what `mixgrad convert --select` takes.
//   threshold=0.9     every group whose recency ratio is at least 0.9
//   fraction=0.5      the half of all groups with the highest recency ratios      lowest=0.5: with the lowest
//   random=0.5        as many, drawn by a seed      ablation=0.5: those that the model misses least, by its loss
//   groups=0:1,2:3    group 1 of layer 0 and group 3 of layer 2
// Counts are round(fraction times groups), over all layers together; ties go by (layer, group).
#pragma once

#include <string_view>
#include <vector>

#include "nn/analysis/softmax_groups.h"
#include "nn/config/enum_names.h"

namespace mixgrad {

enum class ChoiceRule : std::uint8_t { threshold, fraction, lowest, random, ablation, groups };
template <>
const std::vector<std::string>& enum_names<ChoiceRule>();

struct GroupChoice {
  ChoiceRule rule = ChoiceRule::fraction;
  double value = 0;                  // from 0 to 1; of `groups` nothing
  std::vector<GroupId> groups = {};  // ascending; of `groups` alone

  bool asks_recency() const;  // whether the choice depends on recency ratios, or on losses without each group
  bool asks_ablation() const;
};

// ValueError for a text of another form, an unknown rule, a value outside 0 to 1, a group that is named twice.
GroupChoice parse_group_choice(std::string_view text);

// The chosen of `groups` (softmax_groups), ascending. recency: of each group; losses: without each group; both only
// where the rule asks. ValueError when a threshold is above every ratio, and for a named group that is no softmax
// group.
std::vector<GroupId> chosen_groups(const GroupChoice& choice, const std::vector<SoftmaxGroup>& groups,
                                   const std::vector<double>& recency, const std::vector<double>& losses,
                                   std::uint64_t seed);

}  // namespace mixgrad
