// The functions that make the suites of suites.def.
#pragma once

#include "apps/suites/suite.h"

namespace mixgrad::app::built_in {

#define SUITE(kind) Suite kind##_suite();
#include "apps/suites/suites.def"
#undef SUITE

}  // namespace mixgrad::app::built_in
