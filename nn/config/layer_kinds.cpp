#include "nn/config/layer_kinds.h"

#include <algorithm>
#include <mutex>

#include "core/error.h"
#include "core/text/suggest.h"

namespace mixgrad {
namespace {

struct Registered {
  std::mutex mutex;
  std::vector<const LayerKind*> kinds;
};

Registered& registered() {
  static Registered all;
  return all;
}

// What "mixer" or --mixer can hold: no separator of the pattern language.
bool can_be_written(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == ':';
  });
}

void check_name(const LayerKind& kind, const std::string& what, const std::string& name,
                const std::vector<std::string>& taken) {
  if (!can_be_written(name)) {
    raise<ValueError>("mixer kind ", quote(kind.name), ": ", what, " must be of the characters a-z, 0-9, _ and :; got ",
                      quote(name), "; choose another name");
  }
  if (std::find(taken.begin(), taken.end(), name) != taken.end()) {
    raise<ValueError>("mixer kind ", quote(kind.name), ": ", what, " must be one that no other kind has; got ",
                      quote(name), ", which is taken; choose another name");
  }
}

void require_part(const LayerKind& kind, const char* part, bool is_there) {
  if (is_there) return;
  raise<ValueError>("mixer kind ", quote(kind.name), ": the part ", part, " is required; it is missing; ",
                    "a kind has name, values, patterns (each with name, example and expand), forms and make");
}

}  // namespace

std::vector<const LayerKind*> layer_kinds() {
  std::vector<const LayerKind*> kinds{
#define MIXER_KIND(name) &name##_kind(),
#include "nn/config/mixer_kinds.def"
#undef MIXER_KIND
  };
  Registered& more = registered();
  const std::lock_guard lock(more.mutex);
  kinds.insert(kinds.end(), more.kinds.begin(), more.kinds.end());
  return kinds;
}

std::vector<std::string> mixer_names() {
  std::vector<std::string> names;
  for (const LayerKind* kind : layer_kinds()) names.push_back(kind->name);
  return names;
}

std::vector<std::string> pattern_names() {
  std::vector<std::string> names;
  for (const LayerKind* kind : layer_kinds()) {
    for (const MixerPattern& pattern : kind->patterns) names.push_back(pattern.name);
  }
  return names;
}

void register_layer_kind(const LayerKind& kind) {
  require_part(kind, "name", !kind.name.empty());
  require_part(kind, "values", kind.values.has_value());
  require_part(kind, "patterns", !kind.patterns.empty());
  for (const MixerPattern& pattern : kind.patterns) {
    require_part(kind, "patterns.name", !pattern.name.empty());
    require_part(kind, "patterns.example", !pattern.example.empty());
    require_part(kind, "patterns.expand", static_cast<bool>(pattern.expand));
  }
  require_part(kind, "forms", static_cast<bool>(kind.forms));
  if (&kind.values->kind() != &kind) {
    raise<ValueError>("mixer kind ", quote(kind.name), ": values.kind() must be the kind that is registered; it is ",
                      "another one, named ", quote(kind.values->kind().name), "; register what kind() returns");
  }
  check_name(kind, "the name", kind.name, mixer_names());
  std::vector<std::string> taken = pattern_names();
  for (const MixerPattern& pattern : kind.patterns) {
    check_name(kind, "the name of a pattern", pattern.name, taken);
    taken.push_back(pattern.name);
  }
  Registered& all = registered();
  const std::lock_guard lock(all.mutex);
  all.kinds.push_back(&kind);
}

}  // namespace mixgrad
