// The keys of a layer in config.json. Each kind names its own, once and in the stored order, in its `fields`:
//   void EmaConfig::fields(LayerFields& fields) { fields.integer("expand", expand, {1, kMaxExpand}); }
// From this one function come the list of keys, the reader with its errors, and the writer (nn/config/layer_json.h).
// Which keys there are may depend on a choice that was named before them.
//
// Optional keys were added later: a file without them means what `absent` says, and only another value is written, so
// that files from before stay as they are.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nn/config/enum_names.h"

namespace mixgrad {

struct IntegerRange {
  std::int64_t low, high;
};

// How many values a list must have, where that is known; `what` says it in errors: "one shift per head".
struct ListLength {
  std::int64_t count = -1;  // -1: any number
  std::string what = {};
};

class LayerFields {
 public:
  virtual ~LayerFields() = default;

  virtual void integer(const char* key, std::int64_t& value, IntegerRange range) = 0;
  virtual void integers(const char* key, std::vector<std::int64_t>& values, IntegerRange range,
                        const ListLength& length = {}) = 0;
  virtual void positive(const char* key, double& value) = 0;  // finite and above 0
  virtual void flag(const char* key, bool& value) = 0;

  virtual void optional_integer(const char* key, std::int64_t& value, IntegerRange range, std::int64_t absent) = 0;
  virtual void optional_integers(const char* key, std::vector<std::int64_t>& values, IntegerRange range) = 0;  // none
  virtual void optional_flag(const char* key, bool& value, bool absent) = 0;
  // Absent, or equal to the model's `bias`: nullopt, which means that bias.
  virtual void optional_bias(const char* key, std::optional<bool>& value) = 0;

  // A value of an enumeration, stored by its name (nn/config/enum_names.h).
  template <class E>
  void choice(const char* key, E& value) {
    auto index = static_cast<std::size_t>(value);
    name(key, index, enum_names<E>());
    value = static_cast<E>(index);
  }

 protected:
  virtual void name(const char* key, std::size_t& index, const std::vector<std::string>& names) = 0;
};

}  // namespace mixgrad
