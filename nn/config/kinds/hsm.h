// Hierarchical shift mixing as a layer of a configuration: the mixer is nn/mixers/hsm_mixer.h.
//   --mixer hsm:scalar      hsm:vector(heads=4,proj=vo,boundary=self,shifts=1|2|4|8)      hsm:fusion(hidden=64)
// Defaults: heads=1 (or as many as shifts are given), proj=none, boundary=zero, schedule=doubling
// (nn/config/shift_schedule.h). shifts are those of the heads, in every layer. Of fusion, hidden is at first as many
// units in a head as the head has channels: 3 D^2 / H weights, less than attention's 4 D^2.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nn/config/enum_names.h"
#include "nn/config/layer_config.h"
#include "nn/config/layer_kinds.h"
#include "ops/shift/shift.h"

namespace mixgrad {

// The built-in mixings; registered ones (register_hsm_mixing, nn/mixers/hsm_mixing.h) have the values behind them.
enum class HsmVariant : std::uint8_t {
#define HSM_VARIANT(name, file, ...) name,
#include "nn/config/hsm_variants.def"
#undef HSM_VARIANT
};
enum class HsmProjection : std::uint8_t { none, v, o, vo };  // a linear before and / or after the mixing

template <>
const std::vector<std::string>& enum_names<HsmVariant>();
template <>
const std::vector<std::string>& enum_names<HsmProjection>();
template <>
const std::vector<std::string>& enum_names<Boundary>();

// A number that only some variants have.
struct HsmOption {
  const char* name;
  std::int64_t high;                                   // it lies from 1 to this
  std::int64_t (*otherwise)(std::int64_t head_width);  // its default in --mixer
};

struct HsmVariantKind {
  std::string name;
  std::vector<HsmOption> options{};
};

const HsmVariantKind& hsm_variant(HsmVariant variant);
// Part of register_hsm_mixing. ValueError for a name that is empty or taken.
HsmVariant register_hsm_variant(const HsmVariantKind& kind);

struct HsmConfig {
  HsmVariant variant = HsmVariant::scalar;
  std::int64_t heads = 1;              // divides d_model
  std::vector<std::int64_t> shifts{};  // tokens, one per head
  HsmProjection proj = HsmProjection::none;
  Boundary boundary = Boundary::zero;
  std::vector<std::int64_t> options{};  // of the variant, in its order
  friend bool operator==(const HsmConfig&, const HsmConfig&) = default;

  std::int64_t option(std::string_view name) const;  // ValueError when the variant has none of this name

  static const LayerKind& kind() { return hsm_kind(); }
  void fields(LayerFields& fields);
  void check(LayerRules& rules) const;
};

}  // namespace mixgrad
