// Copies to a device beside its kernels (core/cuda/cuda.h).
#include "core/cuda/launch.cuh"

namespace mixgrad::cuda {
namespace {

cudaStream_t stream_of(void* pointer) { return static_cast<cudaStream_t>(pointer); }
cudaEvent_t event_of(void* pointer) { return static_cast<cudaEvent_t>(pointer); }

}  // namespace

// Delegates, so that what fails half-way is destroyed.
DoubleBuffer::DoubleBuffer(std::size_t bytes, Device device) : DoubleBuffer(device) {
  bytes_ = bytes;
  stream(device);  // makes the device current
  cudaStream_t copies = nullptr;
  MIXGRAD_CUDA_CALL("double buffer", cudaStreamCreateWithFlags(&copies, cudaStreamNonBlocking));
  stream_ = copies;
  for (int half = 0; half < 2; ++half) {
    const cudaError_t error = cudaMallocHost(&host_halves_[half], bytes);
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      raise<OutOfMemory>("double buffer: no ", bytes, " bytes of page-locked memory are free on the host");
    }
    check(error, "cudaMallocHost", "double buffer");
    device_halves_[half] = allocate(bytes, device);
    if (device_halves_[half] == nullptr) {
      raise<OutOfMemory>("double buffer: no ", bytes, " bytes are free on ", device.str());
    }
    cudaEvent_t made = nullptr;
    MIXGRAD_CUDA_CALL("double buffer", cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
    copied_[half] = made;
  }
}

DoubleBuffer::~DoubleBuffer() {
  if (stream_ != nullptr) cudaStreamSynchronize(stream_of(stream_));
  for (int half = 0; half < 2; ++half) {
    if (copied_[half] != nullptr) cudaEventDestroy(event_of(copied_[half]));
    cudaFreeHost(host_halves_[half]);
    cudaFree(device_halves_[half]);
  }
  if (stream_ != nullptr) cudaStreamDestroy(stream_of(stream_));
}

void* DoubleBuffer::host(std::int64_t i) {
  MIXGRAD_CUDA_CALL("double buffer", cudaEventSynchronize(event_of(copied_[i % 2])));  // at once when none was recorded
  return host_halves_[i % 2];
}

void DoubleBuffer::send(std::int64_t i, const Event* used) {
  const std::int64_t half = i % 2;
  const cudaStream_t copies = stream_of(stream_);
  const cudaStream_t kernels = stream(device_);
  if (used != nullptr) MIXGRAD_CUDA_CALL("double buffer", cudaStreamWaitEvent(copies, event_of(used->event_), 0));
  MIXGRAD_CUDA_CALL("double buffer",
                    cudaMemcpyAsync(device_halves_[half], host_halves_[half], bytes_, cudaMemcpyHostToDevice, copies));
  MIXGRAD_CUDA_CALL("double buffer", cudaEventRecord(event_of(copied_[half]), copies));
  MIXGRAD_CUDA_CALL("double buffer", cudaStreamWaitEvent(kernels, event_of(copied_[half]), 0));
}

}  // namespace mixgrad::cuda
