#include "ops/matmul/matmul_plan.cuh"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <vector>

#include "ops/matmul/choices.h"
#include "ops/matmul/matmul_cuda.h"

namespace mixgrad::cuda {
namespace {

constexpr std::size_t kWorkspace = std::size_t{32} << 20U;  // what NVIDIA recommends for Hopper
constexpr int kCandidates = 16;
constexpr int kTimedRuns = 5;
constexpr float kGain = 0.97F;          // of the first one's time: what is hardly quicker is not taken
constexpr std::int64_t kFewest = 1024;  // results: of fewer, equal bits would not tell equal orders of adding up

// Of a device; never destroyed.
struct Library {
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;  // ours: products in a captured graph must not take memory of their own
  // Held while one product is queued. A product may be two kernels with partial sums in the workspace between them, and
  // a plan, with its pointer to the bias, is shared: threads that queue products at once must not get between.
  std::mutex queueing;
};

Library& library_of(Device device) {
  static std::mutex mutex;
  static Library all[64];
  stream(device);  // makes the device current
  const std::scoped_lock lock(mutex);
  Library& library = all[device.index];
  if (library.handle == nullptr) check_cublas(cublasLtCreate(&library.handle), "cublasLtCreate");
  if (library.workspace == nullptr) {
    library.workspace = allocate(kWorkspace, device);
    if (library.workspace == nullptr) {
      raise<OutOfMemory>("matmul: no ", kWorkspace >> 20U, " MiB are free for cuBLASLt");
    }
  }
  return library;
}

const char* type_name(cudaDataType_t type) { return type == CUDA_R_64F ? "f64" : type == CUDA_R_32F ? "f32" : "bf16"; }

std::size_t type_bytes(cudaDataType_t type) { return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2; }

std::string to_hex(const cublasLtMatmulAlgo_t& algorithm) {
  unsigned char bytes[sizeof algorithm];
  std::memcpy(bytes, &algorithm, sizeof algorithm);
  std::string text;
  for (const unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte / 16];
    text += "0123456789abcdef"[byte % 16];
  }
  return text;
}

bool from_hex(const std::string& text, cublasLtMatmulAlgo_t& algorithm) {
  unsigned char bytes[sizeof algorithm];
  if (text.size() != 2 * sizeof bytes) return false;
  for (std::size_t i = 0; i < sizeof bytes; ++i) {
    bytes[i] = static_cast<unsigned char>(std::stoul(text.substr(2 * i, 2), nullptr, 16));
  }
  std::memcpy(&algorithm, bytes, sizeof algorithm);
  return true;
}

// Device memory beside the pool, whose figures are those of tensors; null when there is none.
struct Block {
  void* data;
  Device device;
  Block(std::size_t bytes, Device where) : data(allocate(std::max<std::size_t>(bytes, 16), where)), device(where) {}
  ~Block() {
    if (data != nullptr) cudaFree(data);
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
};

// In [-1,1) by the index alone, of very different sizes and with all bits of the type: no two orders of adding up their
// products round alike.
template <class T>
__device__ T random_number(std::int64_t index, std::uint64_t salt) {
  std::uint64_t x = (static_cast<std::uint64_t>(index) + salt) * 0x9e3779b97f4a7c15U;
  x ^= x >> 29U;
  x *= 0xbf58476d1ce4e5b9U;
  x ^= x >> 32U;
  const double value = static_cast<double>(x >> 11U) / static_cast<double>(std::uint64_t{1} << 52U) - 1;
  return static_cast<T>(acc_t<T>(value / static_cast<double>(1U << (x & 15U))));
}

// `batch` matrices of columns `ld` apart, as cuBLASLt sees them; the products add up over axis k.
struct MatrixForm {
  std::int64_t rows, columns, ld, batch, stride;
  bool k_is_row;
};

// The elements from the first to the last.
std::int64_t extent(const MatrixForm& form) {
  return (form.batch - 1) * form.stride + (form.columns - 1) * form.ld + form.rows;
}

// What the numbers are for the comparison of algorithms.
//   any      random
//   cancel   the second half of axis k is the first, in A with the opposite sign: the exact results are 0, and what is
//            found is the rounding of partial sums alone. Results in bf16 would otherwise hide most of it.
enum class Numbers : std::uint8_t { any, cancel };

template <class T>
void fill(void* to, const MatrixForm& form, Numbers numbers, bool opposite, std::uint64_t salt, Device device) {
  T* values = static_cast<T*>(to);
  if (numbers == Numbers::any) {  // gaps between columns, too
    for_each("matmul", device, extent(form), [=] __device__(std::int64_t i) { values[i] = random_number<T>(i, salt); });
    return;
  }
  const MatrixForm f = form;
  const std::int64_t half = (f.k_is_row ? f.rows : f.columns) / 2;
  for_each("matmul", device, f.batch * f.columns * f.rows, [=] __device__(std::int64_t i) {
    const std::int64_t row = i % f.rows;
    const std::int64_t column = i / f.rows % f.columns;
    const std::int64_t matrix = f.stride == 0 ? 0 : i / f.rows / f.columns;
    const std::int64_t k = f.k_is_row ? row : column;
    const std::int64_t other = f.k_is_row ? column : row;
    const std::int64_t index = (matrix * (f.rows + f.columns) + other) * (half + 1) + k % (half > 0 ? half : 1);
    T value = k < 2 * half ? random_number<T>(index, salt) : static_cast<T>(acc_t<T>(0));
    if (opposite && k >= half) value = static_cast<T>(-acc_t<T>(value));
    values[matrix * f.stride + column * f.ld + row] = value;
  });
}

void fill(cudaDataType_t type, void* to, const MatrixForm& form, Numbers numbers, bool opposite, std::uint64_t salt,
          Device device) {
  if (type == CUDA_R_64F) return fill<double>(to, form, numbers, opposite, salt, device);
  if (type == CUDA_R_32F) return fill<float>(to, form, numbers, opposite, salt, device);
  fill<bf16>(to, form, numbers, opposite, salt, device);
}

// Do two results have the same bits?
bool equal_bits(const void* x, const void* y, std::size_t bytes, int* differs, Device device) {
  const auto* a = static_cast<const std::uint16_t*>(x);
  const auto* b = static_cast<const std::uint16_t*>(y);
  MIXGRAD_CUDA_CALL("matmul", cudaMemsetAsync(differs, 0, sizeof(int), stream(device)));
  for_each("matmul", device, static_cast<std::int64_t>(bytes / 2), [=] __device__(std::int64_t i) {
    if (a[i] != b[i]) *differs = 1;  // every thread that writes writes the same
  });
  int result = 0;
  MIXGRAD_CUDA_CALL("matmul", cudaMemcpyAsync(&result, differs, sizeof result, cudaMemcpyDefault, stream(device)));
  synchronize(device);
  return result == 0;
}

}  // namespace

void check_cublas(cublasStatus_t status, const char* call) {
  check(cudaSuccess, call, "matmul");  // counts it for MIXGRAD_FAULT
  if (status != CUBLAS_STATUS_SUCCESS) {
    raise<DeviceError>("matmul: ", call, " failed: ", cublasLtGetStatusString(status));
  }
}

std::string matmul_library(Device device) {
  stream(device);
  cudaDeviceProp properties{};
  MIXGRAD_CUDA_CALL("matmul", cudaGetDeviceProperties(&properties, device.index));
  return "cublasLt " + std::to_string(cublasLtGetVersion()) + ", " + properties.name;
}

std::string MatmulKind::text() const {
  std::string text = std::string(type_name(in)) + " " + type_name(out);
  text += compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? " tf32" : compute == CUBLAS_COMPUTE_32F_FAST_16BF ? " bf16" : "";
  text += std::string(" ") + (transpose_a ? "t" : "n") + (transpose_b ? "t" : "n");
  const auto add = [&](const char* name, std::int64_t value) {
    text += std::string(" ") + name + std::to_string(value);
  };
  add("m", m);
  add("n", n);
  add("k", k);
  for (const std::int64_t ld : {lda, ldb, ldc}) add("ld", ld);
  if (batch > 1) {
    add("batch", batch);
    for (const std::int64_t stride : {stride_a, stride_b, stride_c, stride_bias}) add("stride", stride);
  }
  for (const int alignment : {alignment_a, alignment_b, alignment_c}) add("align", alignment);
  if (bias) text += " bias";
  if (accumulate) text += " add";
  return text;
}

MatmulPlan::MatmulPlan(const MatmulKind& kind, Device device) : kind_(kind), device_(device) {
  describe();
  const std::string known = matmul_choice(kind_.text());
  if (known.empty() || !take(known)) choose();
}

MatmulPlan::~MatmulPlan() {
  for (cublasLtMatrixLayout_t layout : {a_, b_, c_}) {
    if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
  }
  if (product_ != nullptr) cublasLtMatmulDescDestroy(product_);
}

void MatmulPlan::describe() {
  check_cublas(cublasLtMatmulDescCreate(&product_, kind_.compute, kind_.scale), "cublasLtMatmulDescCreate");
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    check_cublas(cublasLtMatmulDescSetAttribute(product_, attribute, &value, sizeof value),
                 "cublasLtMatmulDescSetAttribute");
  };
  const auto word = [](bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; };
  set(CUBLASLT_MATMUL_DESC_TRANSA, word(kind_.transpose_a));
  set(CUBLASLT_MATMUL_DESC_TRANSB, word(kind_.transpose_b));
  if (kind_.bias) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, kind_.in);
    if (kind_.batch > 1) set(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, kind_.stride_bias);
  }
  const auto layout = [&](cudaDataType_t type, std::int64_t rows, std::int64_t columns, std::int64_t ld,
                          std::int64_t stride) {
    cublasLtMatrixLayout_t made = nullptr;
    check_cublas(cublasLtMatrixLayoutCreate(&made, type, static_cast<std::uint64_t>(rows),
                                            static_cast<std::uint64_t>(columns), ld),
                 "cublasLtMatrixLayoutCreate");
    if (kind_.batch > 1) {
      const auto batch = static_cast<std::int32_t>(kind_.batch);
      check_cublas(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch),
                   "cublasLtMatrixLayoutSetAttribute");
      check_cublas(
          cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride),
          "cublasLtMatrixLayoutSetAttribute");
    }
    return made;
  };
  const MatmulKind& p = kind_;
  a_ = p.transpose_a ? layout(p.in, p.k, p.m, p.lda, p.stride_a) : layout(p.in, p.m, p.k, p.lda, p.stride_a);
  b_ = p.transpose_b ? layout(p.in, p.n, p.k, p.ldb, p.stride_b) : layout(p.in, p.k, p.n, p.ldb, p.stride_b);
  c_ = layout(p.out, p.m, p.n, p.ldc, p.stride_c);
}

// From a table; false when this library does not take it.
bool MatmulPlan::take(const std::string& choice) {
  if (!from_hex(choice, algorithm_)) return false;
  cublasLtMatmulHeuristicResult_t result{};
  const cublasStatus_t status =
      cublasLtMatmulAlgoCheck(library_of(device_).handle, product_, a_, b_, c_, c_, &algorithm_, &result);
  usable_ = status == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= kWorkspace;
  return usable_;
}

// What the heuristic proposes, of what adds up partial sums in a fixed order.
int MatmulPlan::candidates(cublasLtMatmulHeuristicResult_t* found, int most) const {
  cublasLtMatmulPreference_t preference = nullptr;
  check_cublas(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value);
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kWorkspace});
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(kind_.alignment_a));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(kind_.alignment_b));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(kind_.alignment_c));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(kind_.alignment_c));
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(library_of(device_).handle, product_, a_, b_, c_, c_,
                                                               preference, most, found, &count);
  cublasLtMatmulPreferenceDestroy(preference);
  check(cudaSuccess, "cublasLtMatmulAlgoGetHeuristic", "matmul");
  if (status != CUBLAS_STATUS_SUCCESS) return 0;
  return count;
}

void MatmulPlan::choose() {
  const bool timed = MatmulTiming::on() && !capturing();
  cublasLtMatmulHeuristicResult_t found[kCandidates];
  const int count = candidates(found, timed ? kCandidates : 1);
  usable_ = count > 0 && found[0].state == CUBLAS_STATUS_SUCCESS;
  if (!usable_) return;
  int best = 0;
  if (timed && count > 1 && kind_.m * kind_.n * kind_.batch >= kFewest) best = quickest(found, count);
  algorithm_ = found[best].algo;
  if (timed) note_matmul_choice(matmul_library(device_), kind_.text(), to_hex(algorithm_));
}

// The index of the quickest that gives the bits of the first, with numbers of both kinds.
int MatmulPlan::quickest(const cublasLtMatmulHeuristicResult_t* found, int count) const {
  const MatmulKind& p = kind_;
  const MatrixForm form_a = p.transpose_a ? MatrixForm{p.k, p.m, p.lda, p.batch, p.stride_a, true}
                                          : MatrixForm{p.m, p.k, p.lda, p.batch, p.stride_a, false};
  const MatrixForm form_b = p.transpose_b ? MatrixForm{p.n, p.k, p.ldb, p.batch, p.stride_b, false}
                                          : MatrixForm{p.k, p.n, p.ldb, p.batch, p.stride_b, true};
  const MatrixForm form_c{p.m, p.n, p.ldc, p.batch, p.stride_c, false};
  const MatrixForm form_bias{p.m, 1, p.m, p.bias ? p.batch : 1, p.stride_bias, false};
  const std::size_t bytes_c = static_cast<std::size_t>(extent(form_c)) * type_bytes(p.out);
  const std::size_t bytes_bias = p.bias ? static_cast<std::size_t>(extent(form_bias)) * type_bytes(p.in) : 0;
  const Block a(static_cast<std::size_t>(extent(form_a)) * type_bytes(p.in), device_);
  const Block b(static_cast<std::size_t>(extent(form_b)) * type_bytes(p.in), device_);
  const Block bias(bytes_bias, device_);
  const Block start(bytes_c, device_);
  const Block wanted(bytes_c, device_);
  const Block got(bytes_c, device_);
  const Block differs(sizeof(int), device_);
  for (const Block* block : {&a, &b, &bias, &start, &wanted, &got, &differs}) {
    if (block->data == nullptr) return 0;  // no memory to try in
  }
  // Sums that cancel meet a C and a bias of 0, which would hide them.
  const auto prepare = [&](Numbers numbers) {
    fill(p.in, a.data, form_a, numbers, true, 1, device_);
    fill(p.in, b.data, form_b, numbers, false, std::uint64_t{1} << 40U, device_);
    if (numbers == Numbers::any) {
      if (p.bias) fill(p.in, bias.data, form_bias, numbers, false, std::uint64_t{2} << 40U, device_);
      fill(p.out, start.data, form_c, numbers, false, std::uint64_t{3} << 40U, device_);
    } else {
      if (p.bias) MIXGRAD_CUDA_CALL("matmul", cudaMemsetAsync(bias.data, 0, bytes_bias, stream(device_)));
      MIXGRAD_CUDA_CALL("matmul", cudaMemsetAsync(start.data, 0, bytes_c, stream(device_)));
    }
  };
  const double one_f64 = 1;
  const float one_f32 = 1;
  const void* alpha = p.scale == CUDA_R_64F ? static_cast<const void*>(&one_f64) : &one_f32;
  const cudaStream_t queue = stream(device_);
  const auto compute = [&](int i, const Block& to) {
    MIXGRAD_CUDA_CALL("matmul", cudaMemcpyAsync(to.data, start.data, bytes_c, cudaMemcpyDefault, queue));
    run({a.data, b.data, p.bias ? bias.data : nullptr, to.data}, alpha, found[i].algo);
  };
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  MIXGRAD_CUDA_CALL("matmul", cudaEventCreate(&begin));
  MIXGRAD_CUDA_CALL("matmul", cudaEventCreate(&end));
  const auto time = [&](int i) {
    std::vector<float> times;
    for (int r = 0; r < kTimedRuns; ++r) {
      MIXGRAD_CUDA_CALL("matmul", cudaEventRecord(begin, queue));
      run({a.data, b.data, p.bias ? bias.data : nullptr, got.data}, alpha, found[i].algo);
      MIXGRAD_CUDA_CALL("matmul", cudaEventRecord(end, queue));
      MIXGRAD_CUDA_CALL("matmul", cudaEventSynchronize(end));
      float ms = 0;
      MIXGRAD_CUDA_CALL("matmul", cudaEventElapsedTime(&ms, begin, end));
      times.push_back(ms);
    }
    return *std::min_element(times.begin(), times.end());
  };
  std::vector<bool> equal(static_cast<std::size_t>(count), true);
  for (const Numbers numbers : {Numbers::cancel, Numbers::any}) {
    prepare(numbers);
    compute(0, wanted);
    for (int i = 1; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (!equal[at] || found[i].state != CUBLAS_STATUS_SUCCESS) continue;
      compute(i, got);
      equal[at] = equal_bits(wanted.data, got.data, bytes_c, static_cast<int*>(differs.data), device_);
    }
  }
  int best = 0;
  float shortest = time(0) * kGain;
  for (int i = 1; i < count; ++i) {
    if (!equal[static_cast<std::size_t>(i)] || found[i].state != CUBLAS_STATUS_SUCCESS) continue;
    const float ms = time(i);
    if (ms >= shortest) continue;
    best = i;
    shortest = ms;
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  synchronize(device_);
  return best;
}

void MatmulPlan::run(const MatmulOperands& operands, const void* alpha, const cublasLtMatmulAlgo_t& algorithm) const {
  Library& library = library_of(device_);
  const std::scoped_lock lock(library.queueing);
  if (kind_.bias) {
    check_cublas(cublasLtMatmulDescSetAttribute(product_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &operands.bias,
                                                sizeof operands.bias),
                 "cublasLtMatmulDescSetAttribute");
  }
  const double beta_f64 = kind_.accumulate ? 1 : 0;
  const float beta_f32 = kind_.accumulate ? 1 : 0;
  const void* beta = kind_.scale == CUDA_R_64F ? static_cast<const void*>(&beta_f64) : &beta_f32;
  check_cublas(cublasLtMatmul(library.handle, product_, alpha, operands.a, a_, operands.b, b_, beta, operands.c, c_,
                              operands.c, c_, &algorithm, library.workspace, kWorkspace, stream(device_)),
               "cublasLtMatmul");
}

}  // namespace mixgrad::cuda
