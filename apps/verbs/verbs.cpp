#include "apps/verbs/verbs.h"

namespace mixgrad::app {

std::vector<NamedVerb> all_verbs() {
  std::vector<NamedVerb> list;
#define VERB(name) list.push_back({#name, verbs::name()});
#define VERB_OF(name, function) list.push_back({#name, verbs::function()});
#include "apps/verbs/verbs.def"
#undef VERB
  return list;
}

}  // namespace mixgrad::app
