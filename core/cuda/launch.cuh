// What every .cu file stands on: checked calls, the stream, and four ways to run a kernel.
//
//   for_each(op, device, n, f)            f(i) for i in [0,n)
//   for_each_cell(op, device, rows, width, f)    f(r, c) for r in [0,rows), c in [0,width), without a division
//   for_each_row(op, device, rows, f)     f(row) by all kRowThreads threads of a block, which may use block_sum or
//                                         block_max
//   column_sums(...)                      sums over rows in a fixed order, whatever the launch
//   launch(...)                           any kernel that begins with wait_for_previous()
//
// On compute capability 9.0 and above a kernel is launched while the one before it still runs ("programmatic dependent
// launch"): its blocks wait in wait_for_previous() until every result of that kernel is visible. Before that call a
// kernel may read its arguments; it may fetch into the L2 cache, which stays coherent; and it may read what no kernel
// after the last but one has written, since that one has ended by then. So a kernel that needs nothing of the one
// before it runs beside it: it calls launch_next() and wait_for_previous() at its end, and whoever waits for it waits
// for both (mamba_step). The kernel after such a one is launched while both run; it must not do the same.
//
// No float atomics: every sum has one order, so two runs give the same bits.
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>
#include <initializer_list>

#include "core/cuda/cuda.h"
#include "core/error.h"
#include "core/rows.h"

namespace mixgrad::cuda {

// DeviceError when `error` is one, or when it is this call's turn in MIXGRAD_FAULT=cuda:N.
void check(cudaError_t error, const char* call, const char* what);
void check_launch(const char* what, dim3 grid, dim3 block);

// Makes `device` current for this thread and returns its stream.
cudaStream_t stream(Device device);

#define MIXGRAD_CUDA_CALL(what, call) ::mixgrad::cuda::check((call), #call, what)

inline constexpr int kMaxDevices = kMaxDeviceIndex + 1;
inline constexpr int kThreads = 256;     // of a block of for_each
inline constexpr int kRowThreads = 128;  // of a block of for_each_row
inline constexpr int kWarp = 32;
inline constexpr std::int64_t kMostBlocks = 8192;  // of for_each_cell: some 60 for each multiprocessor of a large GPU

// Blocks until the kernel before this one has finished, then lets the next one be launched: the other way round the
// waiting blocks of several kernels took room from the one at work, and all was lost again (GPT-2 124M, batch 1: 466 us
// a token instead of 420). Every thread of a kernel started by launch() calls it first, so the next kernel may rely on
// all those ahead of it.
__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Lets the next kernel be launched; for a kernel that waits at its end.
__device__ inline void launch_next() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Fetches a line into the L2 cache, which stays coherent: allowed before wait_for_previous(), for what is surely
// needed.
__device__ inline void fetch_ahead(const void* address) {
#if __CUDA_ARCH__ >= 900
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
#endif
}
inline constexpr int kLineBytes = 128;  // of such a line

// Shared memory of a block beyond the declared: any type, aligned for 16-byte copies.
template <class A>
__device__ A* shared() {
  extern __shared__ double2 memory[];
  return reinterpret_cast<A*>(memory);
}

// May the next kernel be launched while the one before it runs? Its code contains wait_for_previous() then.
bool can_launch_early(Device device);

// kernel<<<grid, threads, bytes>>>(arguments...) in the device's stream; the kernel calls wait_for_previous(). A block
// gets more than 48 KiB of shared memory when `bytes` says so. cluster: so many blocks, side by side in x, read each
// other's shared memory; more than 1 needs a device where can_launch_early(), and at most most_in_cluster().
template <class Kernel, class... Arguments>
void launch_clusters(const char* what, Device device, unsigned cluster, dim3 grid, dim3 threads, std::size_t bytes,
                     Kernel* kernel, const Arguments&... arguments) {
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {cluster, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = threads;
  config.dynamicSmemBytes = bytes;
  config.stream = stream(device);
  config.attrs = attributes;
  config.numAttrs = can_launch_early(device) ? cluster > 1 ? 2 : 1 : 0;
  if (bytes > 48 * 1024) {
    MIXGRAD_CUDA_CALL(
        what, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  }
  cudaLaunchKernelEx(&config, kernel, arguments...);
  check_launch(what, grid, threads);
}

template <class Kernel, class... Arguments>
void launch(const char* what, Device device, dim3 grid, dim3 threads, std::size_t bytes, Kernel* kernel,
            const Arguments&... arguments) {
  launch_clusters(what, device, 1, grid, threads, bytes, kernel, arguments...);
}

inline constexpr int kMostInCluster = 16;  // that a device may have; every one of compute capability 9.0 has 8

// Blocks of this kernel in a cluster, at most: 16, 8, or 1 where there are no clusters. `kernel` is a constant, so that
// each kernel of a program is asked for once on each device.
template <auto kernel>
int most_in_cluster(const char* what, Device device, int threads, std::size_t bytes) {
  static std::atomic<int> known[kMaxDevices];  // 0: not asked yet
  std::atomic<int>& answer = known[device.index];
  if (answer != 0) return answer;
  if (!can_launch_early(device)) return answer = 1;
  stream(device);  // makes it current
  MIXGRAD_CUDA_CALL(what, cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
  if (bytes > 48 * 1024) {
    MIXGRAD_CUDA_CALL(
        what, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  }
  cudaLaunchAttribute size{};
  size.id = cudaLaunchAttributeClusterDimension;
  size.val.clusterDim = {kMostInCluster, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(kMostInCluster);
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = bytes;
  config.attrs = &size;
  config.numAttrs = 1;
  int clusters = 0;
  const cudaError_t error = cudaOccupancyMaxActiveClusters(&clusters, kernel, &config);
  if (error != cudaSuccess) cudaGetLastError();  // clears it: a part of a device may have none of this size
  return answer = error == cudaSuccess && clusters > 0 ? kMostInCluster : kMostInCluster / 2;
}

template <class F>
__global__ void for_each_kernel(std::int64_t count, F f) {
  wait_for_previous();
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) f(i);
}

template <class F>
void for_each(const char* what, Device device, std::int64_t count, const F& f) {
  if (count <= 0) return;
  const std::int64_t blocks = (count + kThreads - 1) / kThreads;
  const dim3 grid(static_cast<unsigned>(blocks < 65536 ? blocks : 65536));
  launch(what, device, grid, kThreads, 0, for_each_kernel<F>, count, f);
}

template <class F>
__global__ void for_each_cell_kernel(std::int64_t rows, std::int64_t width, F f) {
  wait_for_previous();
  const std::int64_t step = static_cast<std::int64_t>(gridDim.y) * blockDim.y;
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= width) return;
  for (std::int64_t r = static_cast<std::int64_t>(blockIdx.y) * blockDim.y + threadIdx.y; r < rows; r += step) f(r, c);
}

// A block is as wide as a power of two that holds the row, at most kThreads.
template <class F>
void for_each_cell(const char* what, Device device, std::int64_t rows, std::int64_t width, const F& f) {
  if (rows <= 0 || width <= 0) return;
  unsigned across = 1;
  while (across < kThreads && across < width) across *= 2;
  const dim3 block(across, kThreads / across);
  const std::int64_t columns = (width + across - 1) / across;
  const std::int64_t needed = (rows + block.y - 1) / block.y;
  const std::int64_t most = columns < kMostBlocks ? kMostBlocks / columns : 1;
  const dim3 grid(static_cast<unsigned>(columns), static_cast<unsigned>(needed < most ? needed : most));
  launch(what, device, grid, block, 0, for_each_cell_kernel<F>, rows, width, f);
}

template <class F>
__global__ void __launch_bounds__(kRowThreads) for_each_row_kernel(std::int64_t rows, F f) {
  wait_for_previous();
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) f(row);
}

template <class F>
void for_each_row(const char* what, Device device, std::int64_t rows, const F& f) {
  if (rows <= 0) return;
  const dim3 grid(static_cast<unsigned>(rows < (1 << 20) ? rows : (1 << 20)));
  launch(what, device, grid, kRowThreads, 0, for_each_row_kernel<F>, rows, f);
}

struct Sum {
  template <class A>
  __device__ static A join(A a, A b) {
    return a + b;
  }
};
struct Max {
  template <class A>
  __device__ static A join(A a, A b) {
    return a > b ? a : b;
  }
};

// One value per thread of a block of kRowThreads, joined in a fixed tree; every thread gets the result.
template <class Join, class A>
__device__ A block_join(A value) {
  __shared__ A warps[kRowThreads / kWarp];
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = Join::join(value, __shfl_xor_sync(0xffffffffU, value, distance));
  }
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  A total = warps[0];
  for (int w = 1; w < kRowThreads / kWarp; ++w) total = Join::join(total, warps[w]);
  __syncthreads();  // the next call may write
  return total;
}
template <class A>
__device__ A block_sum(A value) {
  return block_join<Sum>(value);
}
template <class A>
__device__ A block_max(A value) {
  return block_join<Max>(value);
}

inline constexpr std::int64_t kSumRows = 64;  // rows of one partial sum, by shape only

// store(c, sum over rows r of f(r, c)) for c in [0,width): partial sums over blocks of rows, then a tree over those.
template <class A, class F, class Store>
void column_sums(const char* what, Device device, std::int64_t rows, std::int64_t width, const F& f,
                 const Store& store);

template <class A, class F>
struct PartialSum {
  std::int64_t rows, width;
  F f;
  A* partial;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t c = i % width;
    const std::int64_t begin = i / width * kSumRows;
    const std::int64_t end = begin + kSumRows < rows ? begin + kSumRows : rows;
    A sum = 0;
    for (std::int64_t r = begin; r < end; ++r) sum += f(r, c);
    partial[i] = sum;
  }
};

template <class A, class Store>
struct TotalSum {
  std::int64_t blocks, width;
  const A* partial;
  Store store;
  __device__ void operator()(std::int64_t c) const {
    A sum = 0;
    for (std::int64_t b = threadIdx.x; b < blocks; b += kRowThreads) sum += partial[b * width + c];
    sum = block_sum(sum);
    if (threadIdx.x == 0) store(c, sum);
  }
};

template <class A, class F, class Store>
void column_sums(const char* what, Device device, std::int64_t rows, std::int64_t width, const F& f,
                 const Store& store) {
  const std::int64_t blocks = (rows + kSumRows - 1) / kSumRows;
  const Tensor scratch = Tensor::empty({blocks, width}, dtype_of<A>(), device);
  A* partial = scratch.data<A>();
  for_each(what, device, blocks * width, PartialSum<A, F>{rows, width, f, partial});
  for_each_row(what, device, width, TotalSum<A, Store>{blocks, width, partial, store});
}

// As many elements as 16 bytes hold: one load or store.
template <class T>
struct alignas(16) Chunk {
  static constexpr int kSize = 16 / static_cast<int>(sizeof(T));
  T values[kSize];
};

// Can these tensors, of one shape, be read and written as chunks from their first element to the last? Undefined ones
// do not matter.
inline bool are_chunks(std::initializer_list<const Tensor*> tensors) {
  for (const Tensor* x : tensors) {
    if (!x->defined()) continue;
    if (!x->is_contiguous() || reinterpret_cast<std::uintptr_t>(x->raw()) % 16 != 0 || x->bytes() % 16 != 0)
      return false;
  }
  return true;
}

// Where a gradient goes: element (r, c) is written, or added to. Null when it is not wanted.
template <class T>
struct Target {
  Rows<T> to;
  bool add;

  Target(const Tensor& tensor, bool adds) : to(tensor), add(adds) {}
  __host__ __device__ explicit operator bool() const { return to.data != nullptr; }
  __device__ void put(std::int64_t r, std::int64_t c, acc_t<T> value) const {
    T* place = to[r] + c;
    *place = static_cast<T>(add ? acc_t<T>(*place) + value : value);
  }
};

}  // namespace mixgrad::cuda
