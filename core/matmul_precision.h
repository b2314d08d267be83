// How exactly products of f32 operands are computed; sums are kept in f32 always, and f64 and bf16 products do not
// change.
#pragma once

#include <cstdint>
#include <string_view>

namespace mixgrad {

//   highest  f32 as it is: 24 bits of an operand count
//   high     CUDA may round operands to tf32 (11 bits) for its tensor cores; a CPU computes as for highest
//   medium   CUDA, and a CPU with AMX, may round operands to bf16 (8 bits); any other CPU computes as for highest
enum class MatmulPrecision : std::uint8_t { highest, high, medium };

// Of the whole process; to be set before the first product.
void set_matmul_precision(MatmulPrecision precision);
MatmulPrecision matmul_precision();
MatmulPrecision parse_matmul_precision(std::string_view name);  // ValueError naming what is allowed

}  // namespace mixgrad
