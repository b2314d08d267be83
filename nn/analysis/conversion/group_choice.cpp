#include "nn/analysis/conversion/group_choice.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "core/rng.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"
#include "nn/config/patterns/pattern_text.h"

namespace mixgrad {

template <>
const std::vector<std::string>& enum_names<ChoiceRule>() {
  static const std::vector<std::string> names{"threshold", "fraction", "lowest", "random", "ablation", "groups"};
  return names;
}

namespace {

constexpr std::string_view kWhat = "the choice of groups";

std::vector<GroupId> parse_group_list(std::string_view text) {
  std::vector<GroupId> groups;
  for (const std::string_view item : split(text, ',')) {
    const std::size_t colon = item.find(':');
    const auto number = [&](std::string_view digits) {
      const std::optional<std::int64_t> value = parse_integer(digits);
      if (!value || *value < 0) {
        raise<ValueError>(kWhat, ": groups must be a list of LAYER:GROUP like groups=0:1,2:3; got ", quote(item),
                          "; correct the list");
      }
      return *value;
    };
    const bool pair = colon != std::string_view::npos;
    groups.push_back({number(item.substr(0, colon)), number(pair ? item.substr(colon + 1) : "")});
  }
  std::sort(groups.begin(), groups.end());
  const auto twice = std::adjacent_find(groups.begin(), groups.end());
  if (twice != groups.end()) {
    raise<ValueError>(kWhat, ": each group may be named once; got ", twice->layer, ":", twice->group,
                      " twice; leave one out");
  }
  return groups;
}

// The first `count` by `before`, ties by their order, ascending.
template <class Before>
std::vector<GroupId> first_by(const std::vector<SoftmaxGroup>& groups, std::size_t count, const Before& before) {
  std::vector<std::size_t> order(groups.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), before);
  std::vector<GroupId> chosen;
  for (std::size_t i = 0; i < count; ++i) chosen.push_back(groups[order[i]].id);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

std::vector<GroupId> above(double threshold, const std::vector<SoftmaxGroup>& groups,
                           const std::vector<double>& recency) {
  std::vector<GroupId> chosen;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (recency[i] >= threshold) chosen.push_back(groups[i].id);
  }
  if (chosen.empty()) {
    raise<ValueError>(kWhat, ": a threshold that at least one group reaches is required; the highest recency ratio is ",
                      *std::max_element(recency.begin(), recency.end()), ", below ", threshold,
                      "; lower the threshold");
  }
  return chosen;
}

std::vector<GroupId> named(const std::vector<GroupId>& wanted, const std::vector<SoftmaxGroup>& groups) {
  for (const GroupId& id : wanted) {
    const bool there =
        std::any_of(groups.begin(), groups.end(), [&](const SoftmaxGroup& group) { return group.id == id; });
    if (there) continue;
    raise<ValueError>(kWhat, ": softmax groups of the model are required (LAYER:GROUP, both counted from 0); got ",
                      id.layer, ":", id.group, ", which is none; take a list from mixgrad analyze heads");
  }
  return wanted;
}

}  // namespace

bool GroupChoice::asks_recency() const {
  return rule == ChoiceRule::threshold || ((rule == ChoiceRule::fraction || rule == ChoiceRule::lowest) && value > 0);
}
bool GroupChoice::asks_ablation() const { return rule == ChoiceRule::ablation && value > 0; }

GroupChoice parse_group_choice(std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos) {
    raise<ValueError>(kWhat, " must be RULE=VALUE with one of ", join(enum_names<ChoiceRule>()), "; got ", quote(text),
                      "; like fraction=0.5");
  }
  GroupChoice choice{.rule = parse_enum<ChoiceRule>(text.substr(0, equals), kWhat)};
  const std::string_view value = text.substr(equals + 1);
  if (choice.rule == ChoiceRule::groups) {
    choice.groups = parse_group_list(value);
    return choice;
  }
  const std::optional<double> number = parse_number<double>(value);
  if (!number || !(*number >= 0 && *number <= 1)) {
    raise<ValueError>(kWhat, ": ", to_string(choice.rule), " must be a number from 0 to 1; got ", quote(value),
                      "; correct the value");
  }
  choice.value = *number;
  return choice;
}

std::vector<GroupId> chosen_groups(const GroupChoice& choice, const std::vector<SoftmaxGroup>& groups,
                                   const std::vector<double>& recency, const std::vector<double>& losses,
                                   std::uint64_t seed) {
  const auto count = static_cast<std::size_t>(std::llround(choice.value * static_cast<double>(groups.size())));
  switch (choice.rule) {
    case ChoiceRule::threshold: return above(choice.value, groups, recency);
    case ChoiceRule::groups: return named(choice.groups, groups);
    case ChoiceRule::fraction:
    case ChoiceRule::lowest: {
      if (count == 0) return {};
      const bool highest = choice.rule == ChoiceRule::fraction;
      return first_by(groups, count, [&](std::size_t a, std::size_t b) {
        return highest ? recency[a] > recency[b] : recency[a] < recency[b];
      });
    }
    case ChoiceRule::ablation:
      if (count == 0) return {};
      return first_by(groups, count, [&](std::size_t a, std::size_t b) { return losses[a] < losses[b]; });
    case ChoiceRule::random: break;
  }
  Rng rng(seed);
  std::vector<double> draws;
  for (std::size_t i = 0; i < groups.size(); ++i) draws.push_back(rng.uniform());
  return first_by(groups, count, [&](std::size_t a, std::size_t b) { return draws[a] < draws[b]; });
}

}  // namespace mixgrad
