// The rules between the numbers of a model: first_broken_rule and validate of nn/config/model_config.h.
#include <algorithm>
#include <cmath>
#include <sstream>

#include "core/error.h"
#include "nn/config/model_config.h"

namespace mixgrad {
namespace {

class Rules {
 public:
  explicit Rules(const ModelConfig& config) : config_(config) {}

  std::string first_broken() {
    size("vocab_size", config_.vocab_size, kMaxVocab);
    size("context", config_.context, kMaxContext);
    size("d_model", config_.d_model, kMaxWidth);
    size("d_ff", config_.d_ff, kMaxHidden);
    positive("norm_eps", config_.norm_eps);
    positive("rope_theta", config_.rope_theta);
    const auto count = static_cast<std::int64_t>(config_.layers.size());
    if (count < 1 || count > kMaxLayers) {
      broken("there must be from 1 to ", kMaxLayers, " layers; got ", count, "; change the number of layers");
    }
    for (std::size_t i = 0; i < config_.layers.size() && text_.empty(); ++i) {
      const std::string place = "layers[" + std::to_string(i) + "]";
      std::visit([&](const auto& layer) { check(place, layer); }, config_.layers[i]);
    }
    if (config_.shortcut && text_.empty()) check(*config_.shortcut);
    return text_;
  }

 private:
  template <class... Parts>
  void broken(const Parts&... parts) {
    if (!text_.empty()) return;
    std::ostringstream out;
    (out << ... << parts);
    text_ = out.str();
  }

  void size(const std::string& name, std::int64_t value, std::int64_t high, std::int64_t low = 1) {
    if (value < low || value > high) {
      broken(name, " must be from ", low, " to ", high, "; got ", value, "; choose a value in this range");
    }
  }

  void positive(const std::string& name, double value) {
    if (!(value > 0) || !std::isfinite(value)) {
      broken(name, " must be a finite number above 0; got ", value, "; choose a positive value");
    }
  }

  void ascending(const std::string& name, const std::vector<std::int64_t>& values) {
    for (std::size_t i = 1; i < values.size(); ++i) {
      if (values[i] > values[i - 1]) continue;
      broken(name, " must be ascending, each once; got ", values[i], " after ", values[i - 1], "; sort the list");
    }
  }

  void shifts(const std::string& name, const std::vector<std::int64_t>& values, std::int64_t heads,
              const char* what_heads) {
    if (text_.empty() && values.size() != static_cast<std::size_t>(heads)) {
      broken(name, " must hold one shift per ", what_heads, "; got ", values.size(), " shifts and ", heads,
             " heads; give as many shifts as heads");
    }
    for (std::size_t i = 0; i < values.size(); ++i) size(name + "[" + std::to_string(i) + "]", values[i], kMaxContext);
  }

  void heads_divide(const std::string& place, std::int64_t heads) {
    size(place + ".heads", heads, kMaxHeads);
    if (text_.empty() && config_.d_model % heads != 0) {
      broken("d_model must be a multiple of ", place, ".heads; got ", config_.d_model, " and ", heads,
             "; choose a number of heads that divides ", config_.d_model);
    }
  }

  void grouped_heads(const std::string& place, std::int64_t heads, std::int64_t kv_heads) {
    heads_divide(place, heads);
    size(place + ".kv_heads", kv_heads, kMaxHeads);
    if (text_.empty() && heads % kv_heads != 0) {
      broken(place, ".heads must be a multiple of kv_heads; got ", heads, " and ", kv_heads,
             "; choose a number of kv_heads that divides ", heads);
    }
  }

  void rotary_width(const std::string& place, std::int64_t heads) {
    if (!text_.empty() || config_.positions != Positions::rope) return;
    const std::int64_t width = config_.d_model / heads;
    if (width % 2 != 0) {
      broken("positions rope needs an even head width d_model / heads; got ", config_.d_model, " / ", heads, " = ",
             width, " in ", place, "; choose another number of heads or positions learned or none");
    }
  }

  void check(const std::string& place, const AttentionConfig& layer) {
    grouped_heads(place, layer.heads, layer.kv_heads);
    rotary_width(place, layer.heads);
  }

  void check(const std::string& place, const HsmConfig& layer) {
    heads_divide(place, layer.heads);
    shifts(place + ".shifts", layer.shifts, layer.heads, "head");
    if (layer.variant == HsmVariant::fusion) {
      size(place + ".hidden", layer.hidden, kMaxHidden);
    } else if (layer.hidden != 0) {
      broken(place, ".hidden belongs to the variant fusion; got ", layer.hidden, " with ", to_string(layer.variant),
             "; leave it out");
    }
  }

  void check(const std::string& place, const RecurformerConfig& layer) {
    grouped_heads(place, layer.heads, layer.kv_heads);
    size(place + ".d_state", layer.d_state, kMaxState);
    size(place + ".d_conv", layer.d_conv, kMaxConv);
    size(place + ".expand", layer.expand, kMaxExpand);
    size(place + ".dt_rank", layer.dt_rank, kMaxRank);
    if (!text_.empty()) return;
    groups(place + ".recurrent_groups", layer.recurrent_groups, layer.kv_heads);
    groups(place + ".shift_groups", layer.shift_groups, layer.kv_heads);
    for (const std::int64_t group : layer.shift_groups) {
      const auto& others = layer.recurrent_groups;
      if (std::find(others.begin(), others.end(), group) == others.end()) continue;
      broken(place, ": a group may stand in recurrent_groups or in shift_groups; got ", group,
             " in both; remove it from one");
    }
    const auto shift_heads = static_cast<std::int64_t>(layer.shift_groups.size()) * layer.heads_per_group();
    shifts(place + ".shifts", layer.shifts, shift_heads, "head of shift_groups");
    if (layer.recurrent_groups.size() + layer.shift_groups.size() < static_cast<std::size_t>(layer.kv_heads)) {
      rotary_width(place, layer.heads);
    }
  }

  void groups(const std::string& name, const std::vector<std::int64_t>& values, std::int64_t kv_heads) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      size(name + "[" + std::to_string(i) + "]", values[i], kv_heads - 1, 0);
    }
    ascending(name, values);
  }

  void check(const ShortcutConfig& shortcut) {
    const auto last = static_cast<std::int64_t>(config_.layers.size()) - 1;
    if (!std::holds_alternative<AttentionConfig>(config_.layers.back())) {
      broken("a shortcut needs attention as the last layer; got ", mixer_names().at(config_.layers.back().index()),
             " in layers[", last, "]; make the last layer attention");
    }
    if (shortcut.sources.empty()) {
      broken("shortcut.sources must name at least one hidden state; got none; give hidden states from 0 (the ",
             "embedding) to ", last);
    }
    for (std::size_t i = 0; i < shortcut.sources.size(); ++i) {
      const std::int64_t source = shortcut.sources[i];
      if (source >= 0 && source <= last) continue;
      broken("shortcut.sources[", i, "] must be from 0 (the embedding) to ", last,
             " (what the last layer is given); got ", source, "; choose hidden states below the last layer");
    }
    ascending("shortcut.sources", shortcut.sources);
    size("shortcut.hidden", shortcut.hidden, kMaxHidden);
  }

  const ModelConfig& config_;
  std::string text_;
};

}  // namespace

std::string first_broken_rule(const ModelConfig& config) { return Rules(config).first_broken(); }

void validate(const ModelConfig& config, std::string_view what) {
  const std::string broken = first_broken_rule(config);
  if (!broken.empty()) raise<ValueError>(what, ": ", broken);
}

}  // namespace mixgrad
