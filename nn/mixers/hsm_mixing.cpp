#include "nn/mixers/hsm_mixing.h"

#include <mutex>
#include <vector>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/modules/layers.h"

namespace mixgrad {
namespace {

struct MixingMakers {
  std::mutex mutex;
  std::vector<MakeHsmMixing> of_variant{
  // in the order of HsmVariant
#define HSM_VARIANT(name, file, ...) make_##file##_mixing,
#include "nn/config/hsm_variants.def"
#undef HSM_VARIANT
  };
};

MixingMakers& mixing_makers() {
  static MixingMakers all;
  return all;
}

}  // namespace

Tensor HsmPast::shifted(const Tensor& u) const {
  return ring == nullptr ? shift(u, options) : shift_cached(u, *ring, position, options);
}

const Parameter* HsmSetup::add_matrices(const char* name, const Shape& shape) const {
  return parameters.add(prefix + "." + name, shape, Init::normal(kInitDeviation), true);
}

const Parameter* HsmSetup::add_bias(const char* name, const Shape& shape) const {
  return parameters.add(prefix + "." + name, shape, Init::constant(0), false);
}

std::unique_ptr<HsmMixing> make_hsm_mixing(const HsmSetup& setup) {
  MixingMakers& all = mixing_makers();
  MakeHsmMixing make;
  {
    const std::lock_guard lock(all.mutex);
    make = all.of_variant.at(static_cast<std::size_t>(setup.layer.variant));
  }
  return make(setup);
}

HsmVariant register_hsm_mixing(const HsmVariantKind& kind, const MakeHsmMixing& make) {
  if (!make) {
    raise<ValueError>("hsm mixing ", quote(kind.name), ": the part make is required; it is missing; give the function ",
                      "that makes the mixing");
  }
  MixingMakers& all = mixing_makers();
  const std::lock_guard lock(all.mutex);
  const HsmVariant variant = register_hsm_variant(kind);
  all.of_variant.push_back(make);
  return variant;
}

}  // namespace mixgrad
