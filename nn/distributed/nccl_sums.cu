#include "nn/distributed/nccl_sums.h"

#include "core/error.h"

#if MIXGRAD_HAS_NCCL

#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <thread>
#include <vector>

#include "core/cuda/launch.cuh"
#include "nn/distributed/nccl_library.cuh"

#define MIXGRAD_NCCL_TEXT_OF(value) #value
#define MIXGRAD_NCCL_TEXT(value) MIXGRAD_NCCL_TEXT_OF(value)
#endif

namespace mixgrad::cuda {

#if MIXGRAD_HAS_NCCL

namespace {

using Clock = std::chrono::steady_clock;
constexpr const char* kWhat = "sum over ranks";
constexpr std::chrono::seconds kAbandonTime{5};

// The kernels of the queue of sums are not launched early (launch.cuh), so they do without wait_for_previous().
__global__ void to_bf16_kernel(const float* from, bf16* to, std::int64_t count) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    to[i] = static_cast<bf16>(from[i]);
  }
}
__global__ void from_bf16_kernel(const bf16* from, float* to, std::int64_t count) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    to[i] = static_cast<float>(from[i]);
  }
}
// Stands between the sums and the kernels behind join(): the next kernel is launched early beside this one alone.
__global__ void barrier_kernel() {}

dim3 blocks_for(std::int64_t count) {
  const std::int64_t blocks = (count + kThreads - 1) / kThreads;
  return dim3(static_cast<unsigned>(blocks < 1024 ? blocks : 1024));
}

ncclDataType_t type_of(const Tensor& tensor) {
  if (tensor.dtype() == DType::bf16) return ncclBfloat16;
  return tensor.dtype() == DType::f64 ? ncclFloat64 : ncclFloat32;
}

cudaEvent_t new_event() {
  cudaEvent_t event = nullptr;
  MIXGRAD_CUDA_CALL(kWhat, cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return event;
}

// A number that no other device has.
std::string identity_of(Device device) {
  stream(device);  // makes it current
  cudaDeviceProp properties{};
  MIXGRAD_CUDA_CALL(kWhat, cudaGetDeviceProperties(&properties, device.index));
  return {properties.uuid.bytes, sizeof properties.uuid.bytes};
}

void require_own_devices(Communicator& ranks, Device device) {
  const std::vector<std::string> all = ranks.gather(identity_of(device));
  for (std::size_t r = 0; r < all.size(); ++r) {
    for (std::size_t other = 0; other < r; ++other) {
      if (all[r] != all[other]) continue;
      raise<DeviceError>("sum over ranks: each rank must have a device of its own; rank ", other, " and rank ", r,
                         " have the same one; start as many processes on a host as it has devices");
    }
  }
}

// What NCCL is told before its first call, unless the user says otherwise.
void set_defaults() {
  // A captured sum and one outside of a graph take the same way, so that their bits are equal.
  ::setenv("NCCL_GRAPH_REGISTER", "0", 0);
  // All connections are made while joining, which ends at a time limit, and none in the first step.
  ::setenv("NCCL_RUNTIME_CONNECT", "0", 0);
}

// What the thread that joins works on. It may wait for ever, so it has its own copy of everything.
struct Joining {
  ncclUniqueId id{};
  int rank = 0, size = 1;
  Device device;
  ncclComm_t comm = nullptr;
  std::string error;
  std::atomic<bool> done{false};

  // Joins, and sums a number as a test.
  void run() {
    const NcclLibrary& nccl = NcclLibrary::get();
    MIXGRAD_CUDA_CALL(kWhat, cudaSetDevice(device.index));
    nccl.check(nccl.ncclCommInitRank(&comm, size, id, rank), "ncclCommInitRank");
    cudaStream_t queue = nullptr;
    MIXGRAD_CUDA_CALL(kWhat, cudaStreamCreateWithFlags(&queue, cudaStreamNonBlocking));
    float* number = nullptr;
    MIXGRAD_CUDA_CALL(kWhat, cudaMalloc(reinterpret_cast<void**>(&number), sizeof(float)));
    float sum = static_cast<float>(rank + 1);
    MIXGRAD_CUDA_CALL(kWhat, cudaMemcpyAsync(number, &sum, sizeof sum, cudaMemcpyHostToDevice, queue));
    nccl.check(nccl.ncclAllReduce(number, number, 1, ncclFloat32, ncclSum, comm, queue), "ncclAllReduce");
    MIXGRAD_CUDA_CALL(kWhat, cudaMemcpyAsync(&sum, number, sizeof sum, cudaMemcpyDeviceToHost, queue));
    MIXGRAD_CUDA_CALL(kWhat, cudaStreamSynchronize(queue));
    MIXGRAD_CUDA_CALL(kWhat, cudaFree(number));
    MIXGRAD_CUDA_CALL(kWhat, cudaStreamDestroy(queue));
    const float wanted = 0.5F * static_cast<float>(size) * static_cast<float>(size + 1);
    if (sum != wanted) {
      raise<IoError>("NCCL ", nccl.version(), ": the sum of the numbers of the ranks, ", wanted, ", is required; got ",
                     sum, "; check the devices and their links (nvidia-smi topo -m)");
    }
  }
};

class NcclSums final : public DeviceSums {
 public:
  NcclSums(Communicator& ranks, Device device, ncclComm_t comm)
      : DeviceSums(device), ranks_(ranks), comm_(comm), uncaught_(std::uncaught_exceptions()) {
    stream(device);  // makes it current
    int least = 0, greatest = 0;
    MIXGRAD_CUDA_CALL(kWhat, cudaDeviceGetStreamPriorityRange(&least, &greatest));
    // Blocks of a sum are scheduled before those of the kernels beside it, which have the multiprocessors already.
    MIXGRAD_CUDA_CALL(kWhat, cudaStreamCreateWithPriority(&queue_, cudaStreamNonBlocking, greatest));
    forked_ = new_event();
    joined_ = new_event();
    all_ = new_event();
  }

  ~NcclSums() override {
    if (std::uncaught_exceptions() > uncaught_) abandon();
    if (comm_ != nullptr) nccl_.ncclCommDestroy(comm_);
    for (const cudaEvent_t event : marks_) cudaEventDestroy(event);
    for (const cudaEvent_t event : {forked_, joined_, all_}) cudaEventDestroy(event);
    if (!abandoned_) cudaStreamDestroy(queue_);
  }

  std::string library() const override { return "NCCL " + nccl_.version(); }

  void reserve(std::int64_t numbers, DType sent) override {
    if (sent != DType::bf16 || (rounded_.defined() && rounded_.numel() >= numbers)) return;
    wait("the sums before");
    rounded_ = Tensor::zeros({numbers}, DType::bf16, device());
    rounded_.set_role("gradients to send");
  }

  void add_up(std::span<const Summand> parts, DType sent) override {
    require_whole();
    fork();
    if (sent == DType::bf16) return add_up_rounded(parts);
    nccl_.check(nccl_.ncclGroupStart(), "ncclGroupStart");
    for (const Summand& part : parts) add_up(part.values.raw(), part.values.numel(), type_of(part.values), part.owner);
    nccl_.check(nccl_.ncclGroupEnd(), "ncclGroupEnd");
  }

  void gather_shares(std::span<const SharedTensor> shared) override {
    require_whole();
    fork();
    nccl_.check(nccl_.ncclGroupStart(), "ncclGroupStart");
    for (const SharedTensor& one : shared) {
      for (int r = 0; r < ranks_.size(); ++r) {
        const auto at = static_cast<std::size_t>(r);
        const Tensor part = one.values.slice(one.begins[at], one.begins[at + 1]);
        if (part.numel() == 0) continue;
        nccl_.check(nccl_.ncclBroadcast(part.raw(), part.raw(), static_cast<std::size_t>(part.numel()), type_of(part),
                                        r, comm_, queue_),
                    "ncclBroadcast");
      }
    }
    nccl_.check(nccl_.ncclGroupEnd(), "ncclGroupEnd");
    join();
  }

  void join() override {
    require_whole();
    MIXGRAD_CUDA_CALL(kWhat, cudaEventRecord(joined_, queue_));
    MIXGRAD_CUDA_CALL(kWhat, cudaStreamWaitEvent(stream(device()), joined_, 0));
    barrier_kernel<<<1, 1, 0, stream(device())>>>();
    check_launch(kWhat, dim3(1), dim3(1));
  }

  void set_mark(std::size_t mark) override {
    stream(device());  // makes it current
    while (marks_.size() <= mark) marks_.push_back(new_event());
    MIXGRAD_CUDA_CALL(kWhat, cudaEventRecord(marks_[mark], stream(device())));
  }

  void wait_for_mark(std::size_t mark, const std::string& where) override {
    MIXGRAD_ASSERT(mark < marks_.size(), "a mark is set before it is waited for");
    poll(marks_[mark], where);
  }

  void wait(const std::string& where) override {
    MIXGRAD_CUDA_CALL(kWhat, cudaEventRecord(all_, stream(device())));
    poll(all_, where);
  }

  // ncclCommAbort first tells the kernels to end, and then waits until no captured graph refers to it any more: so it
  // is called by a thread of its own, and only the kernels are waited for.
  void abandon() noexcept override {
    if (abandoned_) return;
    abandoned_ = true;
    try {
      std::thread([comm = comm_, device = device()] {
        cudaSetDevice(device.index);
        NcclLibrary::get().ncclCommAbort(comm);
      }).detach();
      const Clock::time_point end = Clock::now() + kAbandonTime;
      while (Clock::now() < end && cudaStreamQuery(stream(device())) == cudaErrorNotReady) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      static_cast<void>(cudaGetLastError());
    } catch (...) {  // without a thread nothing ends the kernels: the process ends with an error anyway
    }
    comm_ = nullptr;
  }

 private:
  // Until the device has reached the event. It spins at first, since most waits are short.
  void poll(cudaEvent_t event, const std::string& where) {
    const Clock::time_point start = Clock::now();
    for (std::int64_t polls = 0;; ++polls) {
      const cudaError_t state = cudaEventQuery(event);
      if (state == cudaSuccess) return;
      if (state != cudaErrorNotReady) check(state, "cudaEventQuery", where.c_str());
      static_cast<void>(cudaGetLastError());  // "not ready" is none
      const auto waited = Clock::now() - start;
      if (polls % 64 == 63) {
        ranks_.check_others(where);
        require_whole();
        ncclResult_t failed = ncclSuccess;
        nccl_.check(nccl_.ncclCommGetAsyncError(comm_, &failed), "ncclCommGetAsyncError");
        if (failed != ncclSuccess && failed != ncclInProgress) ranks_.report_missing(where);
      }
      if (waited > ranks_.timeout()) ranks_.report_missing(where);
      if (waited < std::chrono::milliseconds(20)) {
        sched_yield();
      } else {
        std::this_thread::sleep_for(std::chrono::microseconds(20));
      }
    }
  }

  void require_whole() const {
    if (abandoned_) raise<RankLost>("sum over ranks: another rank is gone, and the sums were ended");
  }

  // What follows in queue_ begins behind what the device has been given so far.
  void fork() {
    MIXGRAD_CUDA_CALL(kWhat, cudaEventRecord(forked_, stream(device())));
    MIXGRAD_CUDA_CALL(kWhat, cudaStreamWaitEvent(queue_, forked_, 0));
  }

  // In place, as part of a group: at all ranks, or at one.
  void add_up(void* numbers, std::int64_t count, ncclDataType_t type, int owner) {
    const auto length = static_cast<std::size_t>(count);
    if (owner == kAll) {
      nccl_.check(nccl_.ncclAllReduce(numbers, numbers, length, type, ncclSum, comm_, queue_), "ncclAllReduce");
    } else {
      nccl_.check(nccl_.ncclReduce(numbers, numbers, length, type, ncclSum, owner, comm_, queue_), "ncclReduce");
    }
  }

  void add_up_rounded(std::span<const Summand> parts) {
    std::int64_t count = 0;
    for (const auto& [part, owner] : parts) {
      MIXGRAD_ASSERT(part.dtype() == DType::f32 && rounded_.defined() && count + part.numel() <= rounded_.numel(),
                     "reserve() is called before with the largest number");
      to_bf16_kernel<<<blocks_for(part.numel()), kThreads, 0, queue_>>>(part.data<float>(), rounded(count),
                                                                        part.numel());
      check_launch(kWhat, blocks_for(part.numel()), dim3(kThreads));
      count += part.numel();
    }
    // Neighbours with one owner are summed together.
    nccl_.check(nccl_.ncclGroupStart(), "ncclGroupStart");
    count = 0;
    for (std::size_t i = 0; i < parts.size();) {
      const std::int64_t begin = count;
      const int owner = parts[i].owner;
      for (; i < parts.size() && parts[i].owner == owner; ++i) count += parts[i].values.numel();
      add_up(rounded(begin), count - begin, ncclBfloat16, owner);
    }
    nccl_.check(nccl_.ncclGroupEnd(), "ncclGroupEnd");
    count = 0;
    for (const auto& [part, owner] : parts) {
      if (owner == kAll || owner == ranks_.rank()) {
        from_bf16_kernel<<<blocks_for(part.numel()), kThreads, 0, queue_>>>(rounded(count), part.data<float>(),
                                                                            part.numel());
        check_launch(kWhat, blocks_for(part.numel()), dim3(kThreads));
      }
      count += part.numel();
    }
  }
  bf16* rounded(std::int64_t begin) const { return rounded_.data<bf16>() + begin; }

  const NcclLibrary& nccl_ = NcclLibrary::get();
  Communicator& ranks_;
  ncclComm_t comm_;
  int uncaught_;
  bool abandoned_ = false;
  cudaStream_t queue_ = nullptr;
  cudaEvent_t forked_ = nullptr, joined_ = nullptr, all_ = nullptr;
  std::vector<cudaEvent_t> marks_;
  Tensor rounded_;  // of a piece, in bf16
};

}  // namespace

std::string nccl_built_with() {
  return MIXGRAD_NCCL_TEXT(NCCL_MAJOR) "." MIXGRAD_NCCL_TEXT(NCCL_MINOR) "." MIXGRAD_NCCL_TEXT(NCCL_PATCH);
}

std::unique_ptr<DeviceSums> join_nccl(Communicator& ranks, Device device) {
  require_own_devices(ranks, device);
  set_defaults();
  const auto joining = std::make_shared<Joining>();
  joining->rank = ranks.rank();
  joining->size = ranks.size();
  joining->device = device;
  const NcclLibrary& nccl = NcclLibrary::get();
  std::string id(sizeof(ncclUniqueId), '\0');
  if (ranks.leads()) {
    nccl.check(nccl.ncclGetUniqueId(&joining->id), "ncclGetUniqueId");
    std::memcpy(id.data(), &joining->id, id.size());
  }
  id = ranks.from_leader(id);
  std::memcpy(&joining->id, id.data(), id.size());
  std::thread([joining] {
    try {
      joining->run();
    } catch (const std::exception& error) {
      joining->error = error.what();
    }
    joining->done = true;
  }).detach();
  const std::string where = "joining the devices by NCCL";
  const Clock::time_point start = Clock::now();
  while (!joining->done) {
    ranks.check_others(where);
    if (Clock::now() - start > ranks.timeout()) ranks.report_missing(where);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (!joining->error.empty()) raise<IoError>(joining->error);
  return std::make_unique<NcclSums>(ranks, device, joining->comm);
}

#else

std::string nccl_built_with() { return {}; }
std::unique_ptr<DeviceSums> join_nccl(Communicator&, Device) {
  MIXGRAD_ASSERT(false, "nccl_built_with() is empty");
  return nullptr;
}

#endif

}  // namespace mixgrad::cuda
