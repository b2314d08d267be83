// Private to ops/matmul: a product as cuBLASLt is asked for it, made once for each kind of product and kept.
#pragma once

#include <cublasLt.h>

#include <array>
#include <cstdint>
#include <string>

#include "core/cuda/launch.cuh"

namespace mixgrad::cuda {

// cuBLASLt thinks in columns: a row-major matrix is its transpose there, so C^T = op(B)^T op(A)^T is asked for. These
// are its names: A is our B, and m our n.
struct MatmulKind {
  cublasComputeType_t compute;
  cudaDataType_t in, out, scale;
  bool transpose_a, transpose_b, accumulate, bias;
  std::int64_t m, n, k, lda, ldb, ldc;
  std::int64_t batch, stride_a, stride_b, stride_c, stride_bias;
  int alignment_a, alignment_b, alignment_c;  // of the addresses, in bytes, at most 16

  friend bool operator==(const MatmulKind&, const MatmulKind&) = default;
  std::string text() const;  // in a table of choices
};

struct MatmulOperands {
  const void *a, *b, *bias;
  void* c;
};

class MatmulPlan {
 public:
  // Chooses an algorithm: from the table, by timing, or the heuristic's first (choices.h).
  MatmulPlan(const MatmulKind& kind, Device device);
  ~MatmulPlan();
  MatmulPlan(const MatmulPlan&) = delete;
  MatmulPlan& operator=(const MatmulPlan&) = delete;

  // Does cuBLASLt compute this kind? (A bias in f64 it does not add.)
  bool usable() const { return usable_; }
  void run(const MatmulOperands& operands, const void* alpha) const { run(operands, alpha, algorithm_); }

 private:
  void run(const MatmulOperands& operands, const void* alpha, const cublasLtMatmulAlgo_t& algorithm) const;
  void describe();
  bool take(const std::string& choice);
  int candidates(cublasLtMatmulHeuristicResult_t* found, int most) const;
  void choose();
  int quickest(const cublasLtMatmulHeuristicResult_t* found, int count) const;

  MatmulKind kind_;
  Device device_;
  cublasLtMatmulDesc_t product_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, c_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
  bool usable_ = false;
};

void check_cublas(cublasStatus_t status, const char* call);

}  // namespace mixgrad::cuda
