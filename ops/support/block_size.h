// The lengths at which the kernels of an operator change their way: blocks, tiles, chunks, limits between kernels.
//
// Each folder with such kernels publishes them in NAME_blocks.h, where the kernels read them, and its cases are made
// with one less, as many and one more (ops/cases/cases.h).
#pragma once

#include <cstdint>

namespace mixgrad {

struct BlockSize {
  const char* axis;  // of the operator, as its cases name it: "tokens", "channels", "rows"
  std::int64_t size;
};

}  // namespace mixgrad
