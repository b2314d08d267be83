// The CUDA runtime as the rest of the library sees it: memory, copies and one stream per device. No CUDA header is
// needed to include it; its definitions (core/cuda.cu) exist in builds with build::has_cuda only, so every call stands
// behind `if constexpr (build::has_cuda)` or in a .cu file.
//
// All kernels and copies of a device run in its one stream, in the order of the calls. A block of memory may therefore
// be given back to the pool while kernels that use it are still queued.
//
// Errors: DeviceError "WHAT: CALL failed: TEXT"; for a kernel also its launch shape. MIXGRAD_FAULT=cuda:N in the
// environment makes the N-th CUDA call of the process fail, for tests.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/device.h"

namespace mixgrad::cuda {

// Number of usable devices: 0 without a driver. Never fails.
int device_count();

// DeviceError when this device does not exist or the driver is too old: says what is required and what is there.
void require_device(Device device);

// Null when the device has no such block left.
void* allocate(std::size_t bytes, Device device);
void release(void* data, Device device);

struct MemoryInfo {
  std::size_t free = 0;   // bytes that nobody has taken, on the whole device
  std::size_t total = 0;  // bytes of the device
};
MemoryInfo memory_info(Device device);

// `rows` rows of `row_bytes` bytes; the pitches are the distances between rows. To or from the host it returns when the
// host's memory may be used again.
struct RowCopy {
  void* to;
  Device to_device;
  std::size_t to_pitch;
  const void* from;
  Device from_device;
  std::size_t from_pitch;
  std::size_t row_bytes;
  std::size_t rows;
};
void copy(const RowCopy& copy);

// Sets rows of a device's memory to one byte.
void fill_rows(void* to, Device device, std::size_t pitch, std::size_t row_bytes, std::size_t rows, int byte);

void synchronize(Device device);

// For tests: copies from a device to the host so far in this process.
std::int64_t copies_to_host();

}  // namespace mixgrad::cuda
