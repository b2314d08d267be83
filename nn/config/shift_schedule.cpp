#include "nn/config/shift_schedule.h"

#include <algorithm>
#include <bit>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/config/model_config.h"
#include "nn/config/patterns/pattern_text.h"

namespace mixgrad {
namespace {

const std::vector<std::string>& schedule_names() {
  static const std::vector<std::string> names{"doubling", "reversed", "per_head"};
  return names;
}

// 2^(step mod P), P = max(1, ceil(log2 context)).
std::int64_t power(std::int64_t step, std::int64_t context) {
  // The bit width of n - 1 is ceil(log2 n) for n >= 1.
  const auto last = static_cast<std::uint64_t>(std::max<std::int64_t>(context, 1) - 1);
  const auto bits = static_cast<int>(std::bit_width(last));
  const std::int64_t period = std::max(1, bits);
  return std::int64_t{1} << (step % period);
}

}  // namespace

std::int64_t ShiftSchedule::shift(std::int64_t layer, std::int64_t layers, std::int64_t head,
                                  std::int64_t context) const {
  switch (kind) {
    case Kind::doubling: return power(layer + head, context);
    case Kind::reversed: return power(layers - 1 - layer + head, context);
    case Kind::per_head: return power(head, context);
    case Kind::list: break;
  }
  return list[static_cast<std::size_t>(layer + head) % list.size()];
}

std::vector<std::int64_t> ShiftSchedule::shifts(std::int64_t layer, std::int64_t layers, std::int64_t heads,
                                                std::int64_t context) const {
  std::vector<std::int64_t> all;
  for (std::int64_t h = 0; h < heads; ++h) all.push_back(shift(layer, layers, h, context));
  return all;
}

ShiftSchedule parse_shift_schedule(std::string_view text, const std::string& mixer) {
  const auto& names = schedule_names();
  const auto found = std::find(names.begin(), names.end(), text);
  if (found != names.end()) return {static_cast<ShiftSchedule::Kind>(found - names.begin()), {}};
  if (text.find_first_of("0123456789") == std::string_view::npos) {
    raise<ValueError>("mixer: ", mixer, " schedule must be one of ", join(names),
                      ", or a list of shifts like 1|2|4; got ", quote(text), "; ", did_you_mean(text, names),
                      "choose one of them");
  }
  return {ShiftSchedule::Kind::list, parse_shifts(text)};
}

std::vector<std::int64_t> parse_shifts(std::string_view text) {
  std::vector<std::int64_t> shifts;
  for (const std::string_view shift : split(text, '|')) {
    shifts.push_back(parse_count(shift, "each of the shifts (like shifts=1|2|4|8)", kMaxContext));
  }
  return shifts;
}

std::int64_t default_shift(std::int64_t layer, std::int64_t head, std::int64_t context) {
  return ShiftSchedule{}.shift(layer, 0, head, context);
}

}  // namespace mixgrad
