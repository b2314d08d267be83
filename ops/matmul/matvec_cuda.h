// The product of few rows with a transposed matrix, as decoding has it: C[m,n] = alpha A[m,k] B[n,k]^T (+ bias) (+ C)
// for m <= 8. Each element of B is read once, 16 bytes at a time; what bounds it is the memory's speed.
//
// matvec.cuh has the device code, and how the work is divided.
// How the work is cut depends on m, n and k alone. f32 is multiplied in f32 whatever --matmul-precision allows:
// exactness costs nothing here.
#pragma once

#include "core/device.h"
#include "ops/matmul/product.h"
#include "ops/matmul/product_blocks.h"

namespace mixgrad::cuda {

inline constexpr std::int64_t kMostVectors = kProductVectors;

// Does it serve this product? f32 and bf16 whose rows of A and B are whole chunks of 16 bytes.
template <class In, class Out>
bool matvec_takes(const Product<In, Out>& product);

enum class MatvecResult { plain, gelu };  // of the result, rounded to Out before

template <class In, class Out>
void matvec(const Product<In, Out>& product, Device device, MatvecResult result = MatvecResult::plain);

}  // namespace mixgrad::cuda
