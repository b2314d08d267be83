#include <algorithm>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "core/context.h"
#include "core/cuda/launch.cuh"
#include "ops/matmul/matmul_cuda.h"
#include "ops/matmul/matmul_narrow.h"
#include "ops/matmul/matmul_plan.cuh"
#include "ops/matmul/matvec_cuda.h"

namespace mixgrad::cuda {
namespace {

template <class In>
cublasComputeType_t compute_type() {
  if constexpr (std::is_same_v<In, double>) return CUBLAS_COMPUTE_64F;
  if constexpr (std::is_same_v<In, bf16>) return CUBLAS_COMPUTE_32F;
  switch (context().matmul_precision) {
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

int alignment(const void* address) {
  const auto bits = reinterpret_cast<std::uintptr_t>(address);
  return static_cast<int>(std::min<std::uintptr_t>(bits & (~bits + 1), 16));
}

template <class In, class Out>
MatmulKind kind_of(const Product<In, Out>& p) {
  const bool batched = p.batch > 1;
  return {.compute = compute_type<In>(),
          .in = data_type<In>(),
          .out = data_type<Out>(),
          .scale = std::is_same_v<In, double> ? CUDA_R_64F : CUDA_R_32F,
          .transpose_a = p.transpose_b,
          .transpose_b = p.transpose_a,
          .accumulate = p.accumulate,
          .bias = p.bias != nullptr,
          .m = p.n,
          .n = p.m,
          .k = p.k,
          .lda = p.ldb,
          .ldb = p.lda,
          .ldc = p.ldc,
          .batch = p.batch,
          .stride_a = batched ? p.stride_b : 0,
          .stride_b = batched ? p.stride_a : 0,
          .stride_c = batched ? p.stride_c : 0,
          .stride_bias = batched ? p.stride_bias : 0,
          .alignment_a = alignment(p.b),
          .alignment_b = alignment(p.a),
          .alignment_c = alignment(p.c)};
}

struct Hash {
  std::size_t operator()(const std::pair<MatmulKind, int>& key) const {
    const MatmulKind& k = key.first;
    std::size_t hash = static_cast<std::size_t>(key.second);
    for (const std::int64_t part :
         {k.m, k.n, k.k, k.lda, k.ldb, k.ldc, k.batch, std::int64_t{k.in}, std::int64_t{k.accumulate ? 1 : 0}}) {
      hash = (hash ^ static_cast<std::size_t>(part)) * 0x9e3779b97f4a7c15U;
    }
    return hash ^ hash >> 32U;
  }
};

// Kept for the life of the process.
struct Plans {
  std::mutex mutex;
  std::unordered_map<std::pair<MatmulKind, int>, std::unique_ptr<MatmulPlan>, Hash> of;
};
Plans& plans() {
  static auto& all = *new Plans();
  return all;
}

const MatmulPlan& plan_for(const MatmulKind& kind, Device device) {
  const std::scoped_lock lock(plans().mutex);
  std::unique_ptr<MatmulPlan>& plan = plans().of[{kind, device.index}];
  if (plan == nullptr) plan = std::make_unique<MatmulPlan>(kind, device);
  return *plan;
}

// c = bias, or 0, or c + bias: what the product is then added to, where it does not add the bias itself.
template <class In, class Out>
void prepare(const Product<In, Out>& p, Device device) {
  if (p.accumulate && p.bias == nullptr) return;
  Product<In, Out> q = p;
  for_each("matmul", device, p.batch * p.m * p.n, [q] __device__(std::int64_t i) {
    const std::int64_t c = i % q.n;
    const std::int64_t r = i / q.n % q.m;
    Out& element = q.c[i / q.n / q.m * q.stride_c + r * q.ldc + c];
    const acc_t<In> value = q.bias == nullptr ? acc_t<In>(0) : acc_t<In>(q.bias[i / q.n / q.m * q.stride_bias + c]);
    element = static_cast<Out>(q.accumulate ? acc_t<In>(element) + value : value);
  });
}

}  // namespace

template <class In, class Out>
void matmul(const Product<In, Out>& p, Device device) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  if (p.k == 0) return prepare(p, device);
  if (matvec_takes(p)) return matvec(p, device);
  if constexpr (std::is_same_v<In, bf16>) {
    if (narrow_takes(p, device)) return narrow(p, device);
  }
  const MatmulPlan& plan = plan_for(kind_of(p), device);
  if (plan.usable()) return plan.run({p.b, p.a, p.bias, p.c}, &p.alpha);
  if (p.bias == nullptr) {
    raise<DeviceError>("matmul: cuBLASLt has no algorithm for ", kind_of(p).text(), " (its m is n here, its A is B)");
  }
  prepare(p, device);
  Product<In, Out> rest = p;
  rest.bias = nullptr;
  rest.accumulate = true;
  matmul(rest, device);
}

void forget_matmul_plans() {
  const std::scoped_lock lock(plans().mutex);
  plans().of.clear();
}

template void matmul(const Product<double, double>&, Device);
template void matmul(const Product<float, float>&, Device);
template void matmul(const Product<bf16, bf16>&, Device);
template void matmul(const Product<bf16, float>&, Device);

}  // namespace mixgrad::cuda
