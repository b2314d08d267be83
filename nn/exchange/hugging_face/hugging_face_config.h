// A config.json of Hugging Face, key by key. A key that is absent or null has the value that the package transformers
// gives to it; a value that the model cannot express is refused with its name.
//
//   HuggingFaceConfig config(text, "llama/config.json");
//   model.d_model = config.size("hidden_size", kMaxWidth);
//   model.norm_eps = config.positive_or("rms_norm_eps", 1e-6);     // noted in decisions() when it is absent
//   config.require("hidden_act", "silu", "the MLP is gated by silu");
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "nn/files/strict_json.h"

namespace mixgrad {

class HuggingFaceConfig {
 public:
  HuggingFaceConfig(std::string_view text, const std::string& source);  // FormatError

  const JsonPlace& place() const { return place_; }
  const std::string& source() const { return place_.source; }

  // Null when the key is absent or null. Every key that is asked for counts as known.
  const nlohmann::json* find(const std::string& key);
  bool names(const std::string& key) const { return root_.contains(key); }  // null counts

  std::int64_t size(const std::string& key, std::int64_t high);  // required, at least 1
  std::int64_t size_or(const std::string& key, std::int64_t absent, std::int64_t high);
  double positive_or(const std::string& key, double absent);
  bool flag_or(const std::string& key, bool absent);
  std::string text_or(const std::string& key, const std::string& absent);

  // FormatError unless the key has this value, or is absent or null. `why` says what the model computes.
  void require(const std::string& key, const nlohmann::json& value, const std::string& why);
  // FormatError: the value of `key` (a path within the file) is one that cannot be expressed.
  [[noreturn]] void refuse(const std::string& key, const std::string& must, const nlohmann::json& found,
                           const std::string& why) const;

  // Keys that change nothing of what the model computes.
  void skip(std::initializer_list<const char*> keys);
  // Those of the base class of all configurations, dropout rates, and how training started.
  void skip_common();

  void decide(std::string sentence) { decisions_.push_back(std::move(sentence)); }
  // What was decided, and one sentence about keys that nobody asked for.
  std::vector<std::string> decisions() const;

 private:
  template <class T>
  T noted(const std::string& key, T absent);

  nlohmann::json root_;
  JsonPlace place_;
  std::set<std::string> known_;
  std::vector<std::string> decisions_;
};

}  // namespace mixgrad
