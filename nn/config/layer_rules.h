// The rules between the numbers of a layer and of its model, as a kind of mixer states them in its `check`:
//   void EmaConfig::check(LayerRules& rules) const { rules.size("expand", expand, kMaxExpand); }
// The first rule that is broken is kept, in the form "what is required; what came; what to do"; later ones are ignored.
#pragma once

#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "nn/config/model_config.h"

namespace mixgrad {

class LayerRules {
 public:
  // `where` stands before the keys in texts: "layers[2]", or "" for the model's own.
  explicit LayerRules(const ModelConfig& model, std::string where = {}) : model_(model), where_(std::move(where)) {}

  const ModelConfig& model() const { return model_; }
  const std::string& where() const { return where_; }
  std::string key(const std::string& name) const { return where_.empty() ? name : where_ + "." + name; }
  const std::string& text() const { return text_; }  // empty while every rule holds
  bool hold() const { return text_.empty(); }

  // States that a rule is broken, in these words.
  template <class... Parts>
  void broken(const Parts&... parts) {
    if (!hold()) return;
    std::ostringstream out;
    (out << ... << parts);
    text_ = out.str();
  }

  void size(const std::string& name, std::int64_t value, std::int64_t high, std::int64_t low = 1);
  void positive(const std::string& name, double value);
  void sizes(const std::string& name, const std::vector<std::int64_t>& values, std::int64_t high, std::int64_t low = 1);
  void ascending(const std::string& name, const std::vector<std::int64_t>& values);

  void heads_divide_width(std::int64_t heads);
  void grouped_heads(std::int64_t heads, std::int64_t kv_heads);  // the same, and kv_heads divides heads
  void rotary_head_width(std::int64_t heads);                     // even, when positions are rotary
  // One shift for each of the heads, which are called `per` in the text: "head".
  void shifts(const std::vector<std::int64_t>& values, std::int64_t heads, const std::string& per);

 private:
  const ModelConfig& model_;
  std::string where_;
  std::string text_;
};

}  // namespace mixgrad
