#include "nn/mixers/mixer_kinds.h"

#include <map>
#include <mutex>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/config/layer_kinds.h"

namespace mixgrad {
namespace {

struct Makers {
  std::mutex mutex;
  std::map<const LayerKind*, MakeMixer> of_kind{
#define MIXER_KIND(name) {&name##_kind(), make_##name##_mixer},
#include "nn/config/mixer_kinds.def"
#undef MIXER_KIND
  };
};

Makers& makers() {
  static Makers all;
  return all;
}

}  // namespace

void register_mixer_kind(const MixerKind& kind) {
  if (kind.layer == nullptr) {
    raise<ValueError>("mixer kind: the part layer is required; it is missing; give the description of the kind");
  }
  if (!kind.make) {
    raise<ValueError>("mixer kind ", quote(kind.layer->name), ": the part make is required; it is missing; ",
                      "give the function that makes the mixer");
  }
  register_layer_kind(*kind.layer);
  Makers& all = makers();
  const std::lock_guard lock(all.mutex);
  all.of_kind[kind.layer] = kind.make;
}

std::unique_ptr<Mixer> make_mixer(const LayerConfig& layer, const MixerSetup& setup) {
  MakeMixer make;
  {
    Makers& all = makers();
    const std::lock_guard lock(all.mutex);
    const auto found = all.of_kind.find(&layer.kind());
    if (found != all.of_kind.end()) make = found->second;
  }
  if (!make) {
    raise<ValueError>("mixer: a kind that is built in or registered is required; got a layer of the kind ",
                      layer.kind().name, "; call register_mixer_kind first");
  }
  return make(layer, setup);
}

}  // namespace mixgrad
