// embedding: one row of a table per token, plus one row of a second table per position.
//   y[b,t,:] = weight[tokens[b,t],:] + positions[first_position + t,:]
//   tokens: [B,T] i32   weight: [V,D]   positions: [C,D] or undefined   y: [B,T,D], f32 for bf16 tables
//   gradient: dweight[v,:] = sum of dy[b,t,:] over tokens[b,t] = v;  dpositions[p,:] = sum_b dy[b,p-first_position,:]
//             (rows that no token names get zero)                                      saves tokens
//   cost: reads and writes B T D; the backward visits tokens in order, a slice of channels per task: deterministic
//   errors: ValueError for a token outside [0,V) or a position at or above C; in a captured CUDA graph such a token's
//           row is NaN instead
#pragma once

#include "core/numeric/token_position.h"
#include "core/tensor.h"

namespace mixgrad {

Tensor embedding(const Tensor& tokens, const Tensor& weight, const Tensor& positions = Tensor(),
                 TokenPosition first_position = 0);

// ValueError for a token outside [0,vocabulary): what embedding checks, but for tokens in a captured CUDA graph.
void check_tokens(const Tensor& tokens, std::int64_t vocabulary);

}  // namespace mixgrad
