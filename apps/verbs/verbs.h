// The verbs of the program, declared from their list: a verb that is not listed does not compile, and one whose file is
// missing does not link.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/options/verb.h"

namespace mixgrad::app {

namespace verbs {
#define VERB(name) std::unique_ptr<Verb> name();
#define VERB_OF(name, function) std::unique_ptr<Verb> function();
#include "apps/verbs/verbs.def"
#undef VERB
}  // namespace verbs

struct NamedVerb {
  std::string name;
  std::unique_ptr<Verb> verb;
};
std::vector<NamedVerb> all_verbs();  // in the order of the list

}  // namespace mixgrad::app
