#include "nn/config/layer_config.h"

#include "core/error.h"
#include "nn/config/layer_kind.h"

namespace mixgrad {

void LayerConfig::raise_wrong_kind(const LayerKind& wanted) const {
  raise<ValueError>("layer: a layer of the kind ", wanted.name, " is required; got one of the kind ", kind().name,
                    "; ask kind() or get_if() first");
}

}  // namespace mixgrad
