// What `mixgrad version` prints.
#pragma once

#include <string>

namespace mixgrad::app {
std::string version_text();  // "mixgrad 0.2.0 (commit 0123456789ab), instruction set AVX-512, devices cpu"
}
