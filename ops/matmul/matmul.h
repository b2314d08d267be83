// The CPU matrix product (arguments: product.h), on which every other operator stands.
//
// Laws of the kernels that `automatic` (the default, below) chooses from, on which callers may rely:
//   1. The bits of an element of C depend on its row of op(A), its column of op(B), alpha, bias and, when accumulating,
//      on its old value. They do not depend on m, n, the element's position, the batch, the transposes, the thread
//      count, nor on whether matmul or matmul_serial was called.
//   2. From the second call with the same shapes nothing is allocated.
//   3. Any of m, n, k, batch may be 0; with k = 0 the product term is 0.
//   4. Without `accumulate`, C is never read. C must not overlap A, B or bias.
//   5. NaN and infinity spread exactly as in the plain loops, over operands as they are rounded: bf16 ends at 3.39e38.
// Denormals are flushed to zero in every thread that takes part, the caller's included (core/parallel.h).
#pragma once

#include "ops/matmul/product.h"

namespace mixgrad::cpu {

// Parallel over threads(); to be called from outside a parallel region.
template <class In, class Out>
void matmul(const Product<In, Out>& product);

// The same bits, in the calling thread; for use inside the tasks of a parallel_for.
template <class In, class Out>
void matmul_serial(const Product<In, Out>& product);

// The implementations, from the plainest to the fastest. Each takes every Product; only `packed` and `tiles` keep laws
// 1 and 2.
//   naive      plain loops, the reference
//   eigen      Eigen's product, one thread each on fixed row tiles
//   packed     own blocked kernel in vector registers
//   tiles      own blocked kernel on tiles of bf16 (Intel AMX, else the same in plain loops), f32 operands rounded to
//              bf16; f64 as packed
//   automatic  the default: tiles where the processor has AMX and operands are bf16, or f32 at MatmulPrecision::medium;
//              else packed
enum class MatmulKernel { automatic, tiles, packed, eigen, naive };
// Whether the processor has AMX with bf16 and the system lets this process use it. Asked once.
bool has_amx();

void set_matmul_kernel(MatmulKernel kernel);
MatmulKernel matmul_kernel();

}  // namespace mixgrad::cpu
