// How exactly products of f32 operands are computed. Sums are always kept in f32; products of f64 and bf16 operands are
// the same at every precision. The setting belongs to a Context (core/context.h).
#pragma once

#include <cstdint>
#include <string_view>

namespace mixgrad {

//   highest  f32 as it is: 24 bits of an operand count
//   high     CUDA may round operands to tf32 (11 bits) for its tensor cores; a CPU computes as for highest
//   medium   CUDA (attention: as high) and a CPU with AMX may round operands to bf16 (8 bits); another CPU: as highest
enum class MatmulPrecision : std::uint8_t { highest, high, medium };

MatmulPrecision parse_matmul_precision(std::string_view name);  // ValueError naming what is allowed

}  // namespace mixgrad
