// The blocks of the matrix product, for the cases of the operators that stand on it. `packed` and `tiles` (private
// headers, compiled for the machine's instructions) check that they have the same.
#pragma once

#include "ops/support/block_size.h"

namespace mixgrad {

inline constexpr std::int64_t kProductInner = 256;       // along k, of both
inline constexpr std::int64_t kProductRows = 96;         // of C, of packed
inline constexpr std::int64_t kProductTileRows = 128;    // of C, of tiles
inline constexpr std::int64_t kProductColumns = 256;     // of C, of both
inline constexpr std::int64_t kProductVectors = 8;       // rows of A that CUDA multiplies without tiles
inline constexpr std::int64_t kProductRegisterRows = 8;  // of C, in registers (6 without AVX-512)
inline constexpr std::int64_t kProductTileSide = 16;     // rows and columns of a tile register

inline constexpr std::int64_t kFewestNarrowRows = 64;  // from here on CUDA has kernels for narrow products of heads
inline constexpr std::int64_t kMostNarrow = 128;       // columns that these take
inline constexpr std::int64_t kNarrowRows = 128;       // of a block of them

inline constexpr BlockSize kProductBlocks[] = {{"inner", kProductInner},       {"rows", kProductRows},
                                               {"rows", kProductTileRows},     {"columns", kProductColumns},
                                               {"rows", kProductRegisterRows}, {"rows", kProductVectors},
                                               {"columns", kProductTileSide},  {"inner", 2 * kProductTileSide}};

}  // namespace mixgrad
