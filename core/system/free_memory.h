// Memory that this process could still get.
#pragma once

#include <cstddef>

namespace mixgrad {

// Bytes that Linux calls available, or that the process's own limit (ulimit -v) leaves when that is less; 0 when the
// system does not say.
std::size_t free_memory();

}  // namespace mixgrad
