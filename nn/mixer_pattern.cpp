#include "nn/mixer_pattern.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <map>
#include <string>

#include "core/error.h"
#include "nn/suggest.h"

namespace mixgrad {
namespace {

struct Item {
  std::string_view text;  // as written, for errors
  std::string_view name;
  std::map<std::string, std::string_view> options;
};

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\n") - begin + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(trimmed(text.substr(0, end)));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

[[noreturn]] void malformed(std::string_view pattern, const std::string& what) {
  raise<ValueError>("mixer: a pattern like \"hsm:scalar,attention(heads=4,kv_heads=2)\" is required; ", what, " in ",
                    quote(pattern), "; correct the pattern");
}

// Commas within parentheses belong to their item.
std::vector<std::string_view> split_items(std::string_view pattern) {
  std::vector<std::string_view> items;
  bool inside = false;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= pattern.size(); ++i) {
    const char c = i < pattern.size() ? pattern[i] : ',';
    if (c == '(') {
      if (inside) malformed(pattern, "a parenthesis within parentheses");
      inside = true;
    } else if (c == ')') {
      if (!inside) malformed(pattern, "a closing parenthesis without an opening one");
      inside = false;
    } else if (c == ',' && (!inside || i == pattern.size())) {
      if (inside) malformed(pattern, "an unclosed parenthesis");
      items.push_back(trimmed(pattern.substr(begin, i - begin)));
      if (items.back().empty()) malformed(pattern, "an empty item");
      begin = i + 1;
    }
  }
  return items;
}

Item parse_item(std::string_view text, std::string_view pattern) {
  Item item;
  item.text = text;
  const std::size_t open = text.find('(');
  item.name = trimmed(text.substr(0, open));
  if (open == std::string_view::npos) return item;
  if (text.back() != ')') malformed(pattern, "text after a closing parenthesis");
  for (const std::string_view option : split(text.substr(open + 1, text.size() - open - 2), ',')) {
    const std::size_t equals = option.find('=');
    if (equals == std::string_view::npos) malformed(pattern, "the option " + quote(option) + " without \"=\"");
    const std::string key(trimmed(option.substr(0, equals)));
    if (!item.options.emplace(key, trimmed(option.substr(equals + 1))).second) {
      malformed(pattern, "the option " + quote(key) + " twice");
    }
  }
  return item;
}

std::int64_t parse_count(std::string_view text, const std::string& what, std::int64_t high) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > high) {
    raise<ValueError>("mixer: ", what, " must be an integer from 1 to ", high, "; got ", quote(text),
                      "; correct the pattern");
  }
  return value;
}

void check_options(const Item& item, const std::vector<std::string>& known) {
  for (const auto& option : item.options) {
    if (std::find(known.begin(), known.end(), option.first) != known.end()) continue;
    raise<ValueError>("mixer: ", item.name, " has the options ", join(known), "; got ", quote(option.first), "; ",
                      did_you_mean(option.first, known), "correct the pattern");
  }
}

// The value of an option as written in the pattern, or `otherwise`.
std::int64_t count_option(const Item& item, const std::string& key, std::int64_t otherwise) {
  const auto found = item.options.find(key);
  if (found == item.options.end()) return otherwise;
  return parse_count(found->second, std::string(item.name) + " " + key, kMaxHeads);
}

template <class E>
E enum_option(const Item& item, const std::string& key, E otherwise) {
  const auto found = item.options.find(key);
  if (found == item.options.end()) return otherwise;
  return parse_enum<E>(found->second, "mixer: " + std::string(item.name) + " " + key);
}

AttentionConfig make_attention(const Item& item, const PatternDefaults& defaults) {
  check_options(item, {"heads", "kv_heads"});
  AttentionConfig config;
  config.heads = count_option(item, "heads", defaults.heads);
  config.kv_heads = count_option(item, "kv_heads", defaults.kv_heads == 0 ? config.heads : defaults.kv_heads);
  return config;
}

// The shifts stay empty when the schedule is to give them, which depends on the layer.
HsmConfig make_hsm(const Item& item) {
  check_options(item, {"heads", "proj", "boundary", "shifts"});
  HsmConfig config;
  config.variant = parse_enum<HsmVariant>(item.name.substr(item.name.find(':') + 1), "mixer: the variant of hsm");
  const auto shifts = item.options.find("shifts");
  if (shifts != item.options.end()) {
    for (const std::string_view shift : split(shifts->second, '|')) {
      config.shifts.push_back(parse_count(shift, "each of the shifts (like shifts=1|2|4|8)", kMaxContext));
    }
  }
  const auto given = static_cast<std::int64_t>(config.shifts.size());
  config.heads = count_option(item, "heads", std::max<std::int64_t>(1, given));
  if (given != 0 && given != config.heads) {
    raise<ValueError>("mixer: ", item.name, " needs one shift per head; got ", given, " shifts and ", config.heads,
                      " heads in ", quote(item.text), "; give as many shifts as heads");
  }
  config.proj = enum_option(item, "proj", HsmProjection::none);
  config.boundary = enum_option(item, "boundary", Boundary::zero);
  return config;
}

std::vector<std::string> pattern_names() {
  std::vector<std::string> names{"attention"};
  for (const std::string& variant : enum_names<HsmVariant>()) names.push_back("hsm:" + variant);
  return names;
}

LayerConfig make_layer(const Item& item, const PatternDefaults& defaults) {
  const std::vector<std::string> names = pattern_names();
  if (item.name == "attention") return make_attention(item, defaults);
  if (std::find(names.begin(), names.end(), item.name) != names.end()) return make_hsm(item);
  raise<ValueError>("mixer: one of ", join(names), " is required; got ", quote(item.name), "; ",
                    did_you_mean(item.name, names), "choose one of them");
}

void check_default(const char* name, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high) {
    raise<ValueError>(name, " must be from ", low, " to ", high, "; got ", value, "; choose a value in this range");
  }
}

}  // namespace

std::int64_t default_shift(std::int64_t hsm_layer, std::int64_t head, std::int64_t context) {
  // The bit width of n - 1 is ceil(log2 n) for n >= 1.
  const auto last = static_cast<std::uint64_t>(std::max<std::int64_t>(context, 1) - 1);
  const auto bits = static_cast<int>(std::bit_width(last));
  const std::int64_t period = std::max(1, bits);
  return std::int64_t{1} << ((hsm_layer + head) % period);
}

std::vector<LayerConfig> expand_mixer_pattern(std::string_view pattern, const PatternDefaults& defaults) {
  check_default("layers", defaults.layers, 1, kMaxLayers);
  check_default("heads", defaults.heads, 1, kMaxHeads);
  check_default("kv_heads", defaults.kv_heads, 0, kMaxHeads);
  check_default("context", defaults.context, 1, kMaxContext);
  std::vector<LayerConfig> items;
  for (const std::string_view text : split_items(pattern)) {
    items.push_back(make_layer(parse_item(text, pattern), defaults));
  }
  std::vector<LayerConfig> layers;
  std::int64_t hsm_layers = 0;
  for (std::size_t l = 0; l < static_cast<std::size_t>(defaults.layers); ++l) {
    layers.push_back(items[l % items.size()]);
    auto* hsm = std::get_if<HsmConfig>(&layers.back());
    if (hsm == nullptr) continue;
    for (std::int64_t h = 0; hsm->shifts.size() < static_cast<std::size_t>(hsm->heads); ++h) {
      hsm->shifts.push_back(default_shift(hsm_layers, h, defaults.context));
    }
    ++hsm_layers;
  }
  return layers;
}

}  // namespace mixgrad
