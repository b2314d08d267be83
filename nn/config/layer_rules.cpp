#include "nn/config/layer_rules.h"
#include "core/text/plural.h"

#include <cmath>

namespace mixgrad {

void LayerRules::size(const std::string& name, std::int64_t value, std::int64_t high, std::int64_t low) {
  if (value < low || value > high) {
    broken(key(name), " must be from ", low, " to ", high, "; got ", value, "; choose a value in this range");
  }
}

void LayerRules::positive(const std::string& name, double value) {
  if (!(value > 0) || !std::isfinite(value)) {
    broken(key(name), " must be a finite number above 0; got ", value, "; choose a positive value");
  }
}

void LayerRules::sizes(const std::string& name, const std::vector<std::int64_t>& values, std::int64_t high,
                       std::int64_t low) {
  for (std::size_t i = 0; i < values.size(); ++i) size(name + "[" + std::to_string(i) + "]", values[i], high, low);
}

void LayerRules::ascending(const std::string& name, const std::vector<std::int64_t>& values) {
  for (std::size_t i = 1; i < values.size(); ++i) {
    if (values[i] > values[i - 1]) continue;
    broken(key(name), " must be ascending, each once; got ", values[i], " after ", values[i - 1], "; sort the list");
  }
}

void LayerRules::heads_divide_width(std::int64_t heads) {
  size("heads", heads, kMaxHeads);
  if (hold() && model_.d_model % heads != 0) {
    broken("d_model must be a multiple of ", key("heads"), "; got ", model_.d_model, " and ", heads,
           "; choose a number of heads that divides ", model_.d_model);
  }
}

void LayerRules::grouped_heads(std::int64_t heads, std::int64_t kv_heads) {
  heads_divide_width(heads);
  size("kv_heads", kv_heads, kMaxHeads);
  if (hold() && heads % kv_heads != 0) {
    broken(key("heads"), " must be a multiple of kv_heads; got ", heads, " and ", kv_heads,
           "; choose a number of kv_heads that divides ", heads);
  }
}

void LayerRules::rotary_head_width(std::int64_t heads) {
  if (!hold() || model_.positions != Positions::rope) return;
  const std::int64_t width = model_.d_model / heads;
  if (width % 2 != 0) {
    broken("positions rope needs an even head width d_model / heads; got ", model_.d_model, " / ", heads, " = ", width,
           " in ", where_, "; choose another number of heads or positions learned or none");
  }
}

void LayerRules::shifts(const std::vector<std::int64_t>& values, std::int64_t heads, const std::string& per) {
  if (hold() && values.size() != static_cast<std::size_t>(heads)) {
    broken(key("shifts"), " must hold one shift per ", per, "; got ",
           count_text(static_cast<std::int64_t>(values.size()), "shift"), " and ", count_text(heads, "head"),
           "; give as many shifts as heads");
  }
  sizes("shifts", values, kMaxContext);
}

}  // namespace mixgrad
