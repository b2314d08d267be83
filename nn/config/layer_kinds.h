// All kinds of mixers: those of nn/config/mixer_kinds.def in its order, then the registered ones.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nn/config/layer_kind.h"

namespace mixgrad {

// The built-in kinds, each defined in nn/config/kinds/NAME.cpp.
#define MIXER_KIND(name) const LayerKind& name##_kind();
#include "nn/config/mixer_kinds.def"
#undef MIXER_KIND

std::vector<const LayerKind*> layer_kinds();
std::vector<std::string> mixer_names();    // what may stand under "mixer" in config.json
std::vector<std::string> pattern_names();  // what may stand in --mixer

// A layer as config.json has it, in one line: for messages.
std::string to_text(const LayerConfig& layer);

// Part of register_mixer_kind (nn/mixers/mixer_kinds.h), which is what programs call. The kind is kept by reference.
// ValueError, naming the part or the name, when a part is missing or a name is taken or cannot be written in a pattern.
void register_layer_kind(const LayerKind& kind);

}  // namespace mixgrad
