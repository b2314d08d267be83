#include "core/cuda/cuda.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/cuda/launch.cuh"

namespace mixgrad::cuda {
namespace {

std::atomic<std::int64_t> g_copies_to_host{0};

// The number of the CUDA call that is to fail (MIXGRAD_FAULT=cuda:N), or 0.
std::int64_t fault_at() {
  static const std::int64_t n = [] {
    const char* text = std::getenv("MIXGRAD_FAULT");
    if (text == nullptr || std::strncmp(text, "cuda:", 5) != 0) return std::int64_t{0};
    return static_cast<std::int64_t>(std::atoll(text + 5));
  }();
  return n;
}

bool is_fault() {
  static std::atomic<std::int64_t> calls{0};
  return fault_at() > 0 && ++calls == fault_at();
}

std::string text_of(cudaError_t error) {
  return std::string(cudaGetErrorName(error)) + ", " + cudaGetErrorString(error);
}

int count_devices(cudaError_t& error) {
  int count = 0;
  error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) cudaGetLastError();  // clears it
  return error == cudaSuccess ? count : 0;
}

// Stands for every kernel of the build, which is compiled for one list of architectures.
__global__ void any_kernel() {}

}  // namespace

bool can_launch_early(Device device) {
  static std::atomic<int> known[kMaxDevices];  // 0: not asked yet, 1: no, 2: yes
  std::atomic<int>& answer = known[device.index];
  if (answer == 0) {
    stream(device);  // makes it current
    int major = 0;
    cudaFuncAttributes code{};
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index), "cudaDeviceGetAttribute",
          "launch");
    check(cudaFuncGetAttributes(&code, any_kernel), "cudaFuncGetAttributes", "launch");
    answer = major >= 9 && code.ptxVersion >= 90 ? 2 : 1;
  }
  return answer == 2;
}

void check(cudaError_t error, const char* call, const char* what) {
  if (is_fault()) raise<DeviceError>(what, ": ", call, " failed: asked to fail by MIXGRAD_FAULT");
  if (error != cudaSuccess) raise<DeviceError>(what, ": ", call, " failed: ", text_of(error));
}

void check_launch(const char* what, dim3 grid, dim3 block) {
  const cudaError_t error = cudaGetLastError();
  const bool fault = is_fault();
  if (!fault && error == cudaSuccess) return;
  raise<DeviceError>(
      what, ": the kernel launch failed: ", fault ? std::string("asked to fail by MIXGRAD_FAULT") : text_of(error),
      "; grid ", grid.x, "x", grid.y, "x", grid.z, ", block ", block.x, "x", block.y, "x", block.z);
}

int device_count() {
  cudaError_t error = cudaSuccess;
  return count_devices(error);
}

void require_device(Device device) {
  cudaError_t error = cudaSuccess;
  const int count = count_devices(error);
  if (device.index >= 0 && device.index < count && count <= kMaxDevices) return;
  if (error == cudaErrorInsufficientDriver) {
    int runtime = 0;
    cudaRuntimeGetVersion(&runtime);
    raise<DeviceError>("cuda: a driver for CUDA ", runtime / 1000, ".", runtime % 1000 / 10,
                       " or newer is required; the installed one is older or missing; update it or use the device cpu");
  }
  raise<DeviceError>("cuda: the device ", device.str(), " is required; this machine has ", count, " CUDA device",
                     count == 1 ? "" : "s", error == cudaSuccess ? "" : " (" + text_of(error) + ")",
                     "; choose another or use the device cpu");
}

cudaStream_t stream(Device device) {
  // Never destroyed: tensors with static lifetime may return memory at exit.
  static std::atomic<cudaStream_t> streams[kMaxDevices];
  thread_local int current = -1;
  const int index = device.index;
  if (current != index) {
    cuda::require_device(device);
    MIXGRAD_CUDA_CALL("cuda", cudaSetDevice(index));
    current = index;
  }
  cudaStream_t found = streams[index].load(std::memory_order_acquire);
  if (found == nullptr) {
    cudaStream_t made = nullptr;
    MIXGRAD_CUDA_CALL("cuda", cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
    if (streams[index].compare_exchange_strong(found, made)) return made;
    cudaStreamDestroy(made);
  }
  return found;
}

void* allocate(std::size_t bytes, Device device) {
  stream(device);  // makes it current
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(error, "cudaMalloc", "allocate");
  return data;
}

void release(void* data, Device device) {
  synchronize(device);
  MIXGRAD_CUDA_CALL("release", cudaFree(data));
}

MemoryInfo memory_info(Device device) {
  stream(device);
  MemoryInfo info;
  MIXGRAD_CUDA_CALL("memory", cudaMemGetInfo(&info.free, &info.total));
  return info;
}

void copy(const RowCopy& c) {
  if (c.rows == 0 || c.row_bytes == 0) return;
  const bool to_host = c.to_device.is_cpu();
  if (capturing() && (to_host || c.from_device.is_cpu())) {
    raise<DeviceError>("copy: no copy ", to_host ? "to" : "from",
                       " the host can be part of a captured graph; keep the value on the device");
  }
  const cudaStream_t queue = stream(to_host ? c.from_device : c.to_device);
  if (c.rows == 1 || (c.to_pitch == c.row_bytes && c.from_pitch == c.row_bytes)) {
    MIXGRAD_CUDA_CALL("copy", cudaMemcpyAsync(c.to, c.from, c.rows * c.row_bytes, cudaMemcpyDefault, queue));
  } else {
    MIXGRAD_CUDA_CALL("copy", cudaMemcpy2DAsync(c.to, c.to_pitch, c.from, c.from_pitch, c.row_bytes, c.rows,
                                                cudaMemcpyDefault, queue));
  }
  if (to_host) ++g_copies_to_host;
  if (to_host || c.from_device.is_cpu()) MIXGRAD_CUDA_CALL("copy", cudaStreamSynchronize(queue));
}

void fill_rows(void* to, Device device, std::size_t pitch, std::size_t row_bytes, std::size_t rows, int byte) {
  if (rows == 0 || row_bytes == 0) return;
  MIXGRAD_CUDA_CALL("fill", cudaMemset2DAsync(to, pitch, byte, row_bytes, rows, stream(device)));
}

void synchronize(Device device) { MIXGRAD_CUDA_CALL("synchronize", cudaStreamSynchronize(stream(device))); }

std::int64_t copies_to_host() { return g_copies_to_host; }

}  // namespace mixgrad::cuda
