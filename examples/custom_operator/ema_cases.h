#pragma once

#include "ops/cases/cases.h"

namespace ema {
mixgrad::test::OpCases cases();
}  // namespace ema
