#include <cublas_v2.h>

#include <mutex>

#include "core/cuda_launch.cuh"
#include "ops/matmul/matmul_cuda.h"
#include "ops/matmul/precision.h"

namespace mixgrad::cuda {
namespace {

constexpr std::size_t kWorkspace = std::size_t{32} << 20U;  // what NVIDIA recommends for Hopper

void check_cublas(cublasStatus_t status, const char* call) {
  check(cudaSuccess, call, "matmul");  // counts it for MIXGRAD_FAULT
  if (status != CUBLAS_STATUS_SUCCESS) raise<DeviceError>("matmul: ", call, " failed: ", cublasGetStatusString(status));
}

// One handle per device, never destroyed, bound to the device's stream.
cublasHandle_t handle_of(Device device) {
  static std::mutex mutex;
  static cublasHandle_t handles[64] = {};
  const cudaStream_t queue = stream(device);
  const std::scoped_lock lock(mutex);
  cublasHandle_t& handle = handles[device.index];
  if (handle == nullptr) {
    check_cublas(cublasCreate(&handle), "cublasCreate");
    check_cublas(cublasSetStream(handle, queue), "cublasSetStream");
    // A workspace of ours: products in a captured graph must not take memory of their own.
    void* workspace = allocate(kWorkspace, device);
    if (workspace == nullptr) raise<OutOfMemory>("matmul: no ", kWorkspace >> 20U, " MiB are free for cuBLAS");
    check_cublas(cublasSetWorkspace(handle, workspace, kWorkspace), "cublasSetWorkspace");
  }
  return handle;
}

template <class In>
cublasComputeType_t compute_type() {
  if constexpr (std::is_same_v<In, double>) return CUBLAS_COMPUTE_64F;
  if constexpr (std::is_same_v<In, bf16>) return CUBLAS_COMPUTE_32F;
  switch (matmul_precision()) {
    case MatmulPrecision::high: return CUBLAS_COMPUTE_32F_FAST_TF32;
    case MatmulPrecision::medium: return CUBLAS_COMPUTE_32F_FAST_16BF;
    default: return CUBLAS_COMPUTE_32F_PEDANTIC;
  }
}

template <class T>
constexpr cudaDataType_t data_type() {
  if constexpr (std::is_same_v<T, double>) return CUDA_R_64F;
  if constexpr (std::is_same_v<T, float>) return CUDA_R_32F;
  if constexpr (std::is_same_v<T, bf16>) return CUDA_R_16BF;
}

// c = bias, or 0, or unchanged: what the product is then added to.
template <class In, class Out>
void prepare(const Product<In, Out>& p, Device device) {
  if (p.accumulate && p.bias == nullptr) return;
  Product<In, Out> q = p;
  for_each("matmul", device, p.batch * p.m * p.n, [q] __device__(std::int64_t i) {
    const std::int64_t c = i % q.n;
    const std::int64_t r = i / q.n % q.m;
    Out& place = q.c[i / q.n / q.m * q.stride_c + r * q.ldc + c];
    const acc_t<In> value = q.bias == nullptr ? acc_t<In>(0) : acc_t<In>(q.bias[i / q.n / q.m * q.stride_bias + c]);
    place = static_cast<Out>(q.accumulate ? acc_t<In>(place) + value : value);
  });
}

}  // namespace

// cuBLAS thinks in columns: a row-major matrix is its transpose there, so C^T = op(B)^T op(A)^T is asked for.
template <class In, class Out>
void matmul(const Product<In, Out>& p, Device device) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  const bool with_bias = p.bias != nullptr;
  if (with_bias || p.k == 0) prepare(p, device);
  if (p.k == 0) return;
  using A = acc_t<In>;
  const A alpha = p.alpha;
  const A beta = p.accumulate || with_bias ? A(1) : A(0);
  check_cublas(
      cublasGemmStridedBatchedEx(handle_of(device), p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                                 p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, static_cast<int>(p.n),
                                 static_cast<int>(p.m), static_cast<int>(p.k), &alpha, p.b, data_type<In>(),
                                 static_cast<int>(p.ldb), p.stride_b, p.a, data_type<In>(), static_cast<int>(p.lda),
                                 p.stride_a, &beta, p.c, data_type<Out>(), static_cast<int>(p.ldc), p.stride_c,
                                 static_cast<int>(p.batch), compute_type<In>(), CUBLAS_GEMM_DEFAULT),
      "cublasGemmStridedBatchedEx");
}

template void matmul(const Product<double, double>&, Device);
template void matmul(const Product<float, float>&, Device);
template void matmul(const Product<bf16, bf16>&, Device);
template void matmul(const Product<bf16, float>&, Device);

}  // namespace mixgrad::cuda
