// Products of bf16 with one long axis and two short ones, batched, as the layers of single heads have them. cuBLASLt is
// made for large matrices: for rows that do not begin at a multiple of 16 bytes it takes tiles of 16 x 16 in pairs of
// elements. These kernels read and write each operand once, 4 bytes at a time, and leave the products to mma.sync.
//   rows     C[m,n] = op(B) applied to each of many rows of A; n and k up to 128
//   columns  C[m,n] = A^T B summed over many rows k; m and n up to 128, C in f32
#pragma once

#include "core/device.h"
#include "ops/matmul/product.h"

namespace mixgrad::cuda {

bool narrow_takes(const Product<bf16, bf16>& product, Device device);
bool narrow_takes(const Product<bf16, float>& product, Device device);
void narrow(const Product<bf16, bf16>& product, Device device);
void narrow(const Product<bf16, float>& product, Device device);

}  // namespace mixgrad::cuda
