#include "nn/config/layer_json.h"

#include <algorithm>

#include "core/text/suggest.h"
#include "nn/config/layer_fields.h"
#include "nn/config/layer_kinds.h"

namespace mixgrad {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// Collects the keys. Choices that are there are read, because later keys may depend on them.
class KeyList final : public LayerFields {
 public:
  KeyList(const json& layer, const JsonPlace& place) : layer_(layer), place_(place) {}

  void integer(const char* key, std::int64_t&, IntegerRange) override { keys_.emplace_back(key); }
  void integers(const char* key, std::vector<std::int64_t>&, IntegerRange, const ListLength&) override {
    keys_.emplace_back(key);
  }
  void positive(const char* key, double&) override { keys_.emplace_back(key); }
  void flag(const char* key, bool&) override { keys_.emplace_back(key); }
  void optional_integer(const char* key, std::int64_t&, IntegerRange, std::int64_t) override {
    optional_.emplace_back(key);
  }
  void optional_integers(const char* key, std::vector<std::int64_t>&, IntegerRange) override {
    optional_.emplace_back(key);
  }
  void optional_flag(const char* key, bool&, bool) override { optional_.emplace_back(key); }
  void optional_bias(const char* key, std::optional<bool>&) override { optional_.emplace_back(key); }
  const std::vector<std::string>& keys() const { return keys_; }
  const std::vector<std::string>& optional() const { return optional_; }

 protected:
  void name(const char* key, std::size_t& index, const std::vector<std::string>& names) override {
    keys_.emplace_back(key);
    const auto found = layer_.find(key);
    if (found != layer_.end()) index = json_name(*found, place_.key(key), names);
  }

 private:
  const json& layer_;
  const JsonPlace& place_;
  std::vector<std::string> keys_{"mixer"};
  std::vector<std::string> optional_;
};

class Reader final : public LayerFields {
 public:
  Reader(const json& layer, const JsonPlace& place, bool model_bias)
      : layer_(layer), place_(place), model_bias_(model_bias) {}

  void integer(const char* key, std::int64_t& value, IntegerRange range) override {
    value = json_integer(layer_[key], place_.key(key), range.low, range.high);
  }
  void integers(const char* key, std::vector<std::int64_t>& values, IntegerRange range,
                const ListLength& length) override {
    const json& list = json_array(layer_[key], place_.key(key));
    if (length.count >= 0 && list.size() != static_cast<std::size_t>(length.count)) {
      place_.key(key).wrong("an array of " + length.what + ", " + std::to_string(length.count) + " values", list);
    }
    values = json_integers(list, place_.key(key), range.low, range.high);
  }
  void positive(const char* key, double& value) override { value = json_positive(layer_[key], place_.key(key)); }
  void flag(const char* key, bool& value) override { value = json_bool(layer_[key], place_.key(key)); }
  void optional_integer(const char* key, std::int64_t& value, IntegerRange range, std::int64_t absent) override {
    value = absent;
    if (layer_.contains(key)) integer(key, value, range);
  }
  void optional_integers(const char* key, std::vector<std::int64_t>& values, IntegerRange range) override {
    values.clear();
    if (layer_.contains(key)) integers(key, values, range, {});
  }
  void optional_flag(const char* key, bool& value, bool absent) override {
    value = absent;
    if (layer_.contains(key)) flag(key, value);
  }
  void optional_bias(const char* key, std::optional<bool>& value) override {
    bool found = model_bias_;
    optional_flag(key, found, model_bias_);
    value = found == model_bias_ ? std::nullopt : std::optional(found);
  }

 protected:
  void name(const char* key, std::size_t& index, const std::vector<std::string>& names) override {
    index = json_name(layer_[key], place_.key(key), names);
  }

 private:
  const json& layer_;
  const JsonPlace& place_;
  bool model_bias_;
};

class Writer final : public LayerFields {
 public:
  Writer(ordered_json& layer, std::optional<bool> model_bias) : layer_(layer), model_bias_(model_bias) {}

  void integer(const char* key, std::int64_t& value, IntegerRange) override { layer_[key] = value; }
  void integers(const char* key, std::vector<std::int64_t>& values, IntegerRange, const ListLength&) override {
    layer_[key] = values;
  }
  void positive(const char* key, double& value) override { layer_[key] = value; }
  void flag(const char* key, bool& value) override { layer_[key] = value; }
  void optional_integer(const char* key, std::int64_t& value, IntegerRange, std::int64_t absent) override {
    if (value != absent) layer_[key] = value;
  }
  void optional_integers(const char* key, std::vector<std::int64_t>& values, IntegerRange) override {
    if (!values.empty()) layer_[key] = values;
  }
  void optional_flag(const char* key, bool& value, bool absent) override {
    if (value != absent) layer_[key] = value;
  }
  void optional_bias(const char* key, std::optional<bool>& value) override {
    if (value && value != model_bias_) layer_[key] = *value;
  }

 protected:
  void name(const char* key, std::size_t& index, const std::vector<std::string>& names) override {
    layer_[key] = names.at(index);
  }

 private:
  ordered_json& layer_;
  std::optional<bool> model_bias_;
};

}  // namespace

std::size_t json_name(const json& value, const JsonPlace& place, const std::vector<std::string>& names) {
  const std::string must = "one of " + join(names);
  if (!value.is_string()) place.wrong(must, value);
  const auto& name = value.get_ref<const std::string&>();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    const std::string best = nearest(name, names);
    place.wrong(must + (best.empty() ? "" : " (did you mean " + quote(best) + "?)"), value);
  }
  return static_cast<std::size_t>(found - names.begin());
}

std::vector<std::int64_t> json_integers(const json& value, const JsonPlace& place, std::int64_t low,
                                        std::int64_t high) {
  json_array(value, place);
  std::vector<std::int64_t> numbers;
  for (std::size_t i = 0; i < value.size(); ++i) numbers.push_back(json_integer(value[i], place.index(i), low, high));
  return numbers;
}

LayerConfig read_layer(const json& layer, const JsonPlace& place, bool model_bias) {
  json_object(layer, place);
  const json& mixer = json_at(layer, place, "mixer");
  json_string(mixer, place.key("mixer"));
  const std::vector<const LayerKind*> kinds = layer_kinds();
  const LayerConfig& empty = *kinds[json_name(mixer, place.key("mixer"), mixer_names())]->values;
  KeyList list(layer, place);
  empty.visited(list);
  json_exact_keys(layer, place, list.keys(), list.optional());
  Reader reader(layer, place, model_bias);
  return empty.visited(reader);
}

std::string to_text(const LayerConfig& layer) { return layer_json(layer).dump(); }

ordered_json layer_json(const LayerConfig& layer, std::optional<bool> model_bias) {
  ordered_json value{{"mixer", layer.kind().name}};
  Writer writer(value, model_bias);
  layer.visited(writer);
  return value;
}

}  // namespace mixgrad
