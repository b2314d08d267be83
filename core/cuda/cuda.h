// The CUDA runtime as the rest of the library sees it: memory, copies and one stream per device. No CUDA header is
// needed to include it; its definitions (core/cuda/cuda.cu) exist in builds with build::has_cuda only, so every call
// stands behind `if constexpr (build::has_cuda)` or in a .cu file.
//
// All kernels and copies of a device run in its one stream, in the order of the calls, but for the copies of a
// DoubleBuffer, whose memory is not of the pool. A block of memory may therefore be given back to the pool while
// kernels that use it are still queued. (A kernel may begin beside the one before it, launch.cuh; where it goes on
// beside it, as mamba_step does, its memory is taken before that one is queued.)
//
// Errors: DeviceError "WHAT: CALL failed: TEXT"; for a kernel also its launch shape. MIXGRAD_FAULT=cuda:N in the
// environment makes the N-th CUDA call of the process fail, for tests.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/allocator.h"
#include "core/device.h"

namespace mixgrad {
class Tensor;
}

namespace mixgrad::cuda {

// Number of usable devices: 0 without a driver. Never fails.
int device_count();

// DeviceError when this device does not exist or the driver is too old: says what is required and what is there.
void require_device(Device device);

// Null when the device has no such block left.
void* allocate(std::size_t bytes, Device device);
void release(void* data, Device device);

struct MemoryInfo {
  std::size_t free = 0;   // bytes that no process has allocated, on the whole device
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

// Set all elements of a float or i32 tensor; from one float type to another, of equal shapes, with the host's
// rounding. Row views are allowed, and both tensors are on the same device. No copy through the host: they may be
// captured.
void fill(const Tensor& tensor, double value);
void convert(const Tensor& to, const Tensor& from);

// A recorded sequence of kernels and copies of a device's stream, replayed with one call. While a Capture lives, this
// thread's calls on the device are recorded and not run: no copy from or to the host may be among them (DeviceError),
// nor a wait. The memory they use must stay (core/allocator.h, PrivatePool).
class Graph {
 public:
  Graph() = default;
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  bool ready() const { return executable_ != nullptr; }
  std::size_t nodes() const { return nodes_; }
  // Queues it. DeviceError when it was not captured.
  void launch() const;

  class Capture {
   public:
    Capture(Graph& graph, Device device);
    ~Capture();  // without finish() the recording is thrown away
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;
    void finish();

   private:
    Graph& graph_;
    Device device_;
    bool open_ = true;
  };

 private:
  void* executable_ = nullptr;
  std::size_t nodes_ = 0;
  Device device_;
};

// Is this thread recording a graph? Then values on the device do not exist yet and cannot be looked at.
bool capturing();

// Marks a point in the queue of a device; wait() returns when the device has reached it.
class Event {
 public:
  explicit Event(Device device);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record();
  void wait() const;

 private:
  friend class DoubleBuffer;
  void* event_ = nullptr;
  Device device_;
};

// Bytes that the host makes anew for every step of a loop: two halves in turn, so that the host fills one and the copy
// runs in a stream of its own while the device works with the other.
//   for step i:  fill(host(i)); send(i, used[i - 2]); queue kernels that read device(i % 2)
class DoubleBuffer {
 public:
  // OutOfMemory when the host or the device has not twice `bytes`.
  DoubleBuffer(std::size_t bytes, Device device);
  ~DoubleBuffer();
  DoubleBuffer(const DoubleBuffer&) = delete;
  DoubleBuffer& operator=(const DoubleBuffer&) = delete;

  // Where to write what step i needs; waits until the copy of step i - 2 has been made.
  void* host(std::int64_t i);
  // Queues its copy, behind `used`, which marks the end of step i - 2 (null: there is none). What is queued on the
  // device afterwards waits for the copy. Not to be called while a graph is recorded.
  void send(std::int64_t i, const Event* used);
  const void* device(std::int64_t half) const { return device_halves_[half]; }

 private:
  explicit DoubleBuffer(Device device) : device_(device) {}
  Device device_;
  std::size_t bytes_ = 0;
  void* stream_ = nullptr;
  void* host_halves_[2] = {};
  void* device_halves_[2] = {};
  void* copied_[2] = {};  // events
};

// For tests: copies from a device to the host so far in this process.
std::int64_t copies_to_host();

}  // namespace mixgrad::cuda
