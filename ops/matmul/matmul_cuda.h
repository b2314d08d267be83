// The matrix product on a CUDA device (arguments: product.h), by cuBLASLt (which algorithm: choices.h), and for the few
// rows of a decoding step by kernels of our own (matvec_cuda.h). f64 in full
// precision, bf16 with f32 sums, f32 as MatmulPrecision says. The same call gives the same bits each time; rows need
// not have the same bits in products of another size. C must not overlap A, B or bias.
#pragma once

#include <string>

#include "core/device.h"
#include "ops/matmul/product.h"

namespace mixgrad::cuda {

template <class In, class Out>
void matmul(const Product<In, Out>& product, Device device);

// For which choices of algorithms are valid: "cublasLt 130101, NVIDIA H100 80GB HBM3".
std::string matmul_library(Device device);

// For tests: every product chooses anew.
void forget_matmul_plans();

}  // namespace mixgrad::cuda
