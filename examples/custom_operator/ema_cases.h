#pragma once

#include "ops/cases/cases.h"

namespace ema {
mixgrad::test::OpCases cases();
mixgrad::test::OpBench bench();  // the sizes at which it is timed
}  // namespace ema
