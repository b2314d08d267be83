// Which mixer a layer has: a value of one of the kinds of mixers, built-in (nn/config/kinds/) or registered.
//   const LayerConfig layer = AttentionConfig{.heads = 4, .kv_heads = 2};
//   layer.kind().name                                        "attention"
//   if (const auto* hsm = layer.get_if<HsmConfig>()) ...     null when the layer is of another kind
#pragma once

#include <concepts>
#include <memory>
#include <utility>

namespace mixgrad {

struct LayerKind;   // nn/config/layer_kind.h
class LayerFields;  // nn/config/layer_fields.h
class LayerRules;   // nn/config/layer_rules.h

// What a struct needs so that a LayerConfig can hold it. A part that is missing is an error of the compiler.
template <class Config>
concept LayerValues = requires(Config config, const Config& same, LayerFields& fields, LayerRules& rules) {
  { Config::kind() } -> std::same_as<const LayerKind&>;  // its description
  config.fields(fields);                                 // its keys in config.json, in the stored order
  same.check(rules);                                     // the rules between its numbers and the model's
}
&&std::equality_comparable<Config>&& std::copyable<Config>;

class LayerConfig {
 public:
  template <LayerValues Config>
  LayerConfig(Config config)  // NOLINT(google-explicit-constructor)
      : values_(std::make_shared<const Holder<Config>>(std::move(config))) {}

  const LayerKind& kind() const { return values_->kind(); }

  template <LayerValues Config>
  const Config* get_if() const {
    const auto* holder = dynamic_cast<const Holder<Config>*>(values_.get());
    return holder == nullptr ? nullptr : &holder->config;
  }
  // ValueError, which names both kinds, when the layer is of another kind.
  template <LayerValues Config>
  const Config& get() const {
    const Config* config = get_if<Config>();
    if (config == nullptr) raise_wrong_kind(Config::kind());
    return *config;
  }

  // A copy through whose fields `fields` went: a reader changes them, a writer does not.
  LayerConfig visited(LayerFields& fields) const { return values_->visited(fields); }
  void check(LayerRules& rules) const { values_->check(rules); }

  friend bool operator==(const LayerConfig& a, const LayerConfig& b) { return a.values_->equals(*b.values_); }

 private:
  struct Values {
    virtual ~Values() = default;
    virtual const LayerKind& kind() const = 0;
    virtual bool equals(const Values& other) const = 0;
    virtual LayerConfig visited(LayerFields& fields) const = 0;
    virtual void check(LayerRules& rules) const = 0;
  };

  template <class Config>
  struct Holder final : Values {
    Config config;

    explicit Holder(Config values) : config(std::move(values)) {}
    const LayerKind& kind() const override { return Config::kind(); }
    bool equals(const Values& other) const override {
      const auto* same = dynamic_cast<const Holder*>(&other);
      return same != nullptr && same->config == config;
    }
    LayerConfig visited(LayerFields& fields) const override {
      Config copy = config;
      copy.fields(fields);
      return copy;
    }
    void check(LayerRules& rules) const override { config.check(rules); }
  };

  [[noreturn]] void raise_wrong_kind(const LayerKind& wanted) const;

  std::shared_ptr<const Values> values_;  // never changed, so copies may share it
};

}  // namespace mixgrad
