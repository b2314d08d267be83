#include "nn/model/token_draw.h"

#include <algorithm>
#include <cub/device/device_radix_sort.cuh>
#include <limits>

#include "core/cuda/launch.cuh"

namespace mixgrad::cuda {
namespace {

constexpr int kDrawThreads = 1024;
constexpr int kDrawWarps = kDrawThreads / kWarp;
constexpr int kMostSorted = 2048;  // candidates that a block sorts in its shared memory

// Numbers that one launch brings along as its arguments.
constexpr std::int64_t kRowsOfLaunch = 64;
struct Uniforms {
  double of_row[kRowsOfLaunch];
};

struct DrawSettings {
  double temperature, top_p, min_p;
  int candidates;  // of the sorted ones, that top_k leaves
  int vocabulary;
  std::int64_t stride;  // between rows of logits
};

struct Best {
  double value;
  int id;
};

// The larger of two logits, of equals that with the lower id.
__device__ Best better(Best a, Best b) { return b.value > a.value || (b.value == a.value && b.id < a.id) ? b : a; }

// What a block knows of its row: the largest logit, and the first that is not finite.
struct RowSummary {
  Best best;
  int first_bad;  // the vocabulary's size: there is none
};

template <class T>
__device__ RowSummary summary_of_row(const T* logits, int vocabulary) {
  __shared__ Best best_of_warps[kDrawWarps];
  __shared__ int bad_of_warps[kDrawWarps];
  Best best{-INFINITY, vocabulary};
  int bad = vocabulary;
#pragma unroll 8
  for (int v = static_cast<int>(threadIdx.x); v < vocabulary; v += kDrawThreads) {
    const auto value = static_cast<double>(logits[v]);
    if (!isfinite(value)) bad = min(bad, v);
    best = better(best, {value, v});
  }
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    best = better(
        best, {__shfl_xor_sync(0xffffffffU, best.value, distance), __shfl_xor_sync(0xffffffffU, best.id, distance)});
    bad = min(bad, __shfl_xor_sync(0xffffffffU, bad, distance));
  }
  if (threadIdx.x % kWarp == 0) {
    best_of_warps[threadIdx.x / kWarp] = best;
    bad_of_warps[threadIdx.x / kWarp] = bad;
  }
  __syncthreads();
  for (int w = 0; w < kDrawWarps; ++w) {
    best = better(best, best_of_warps[w]);
    bad = min(bad, bad_of_warps[w]);
  }
  return {best, bad};
}

// One thread writes what was drawn, for the host and for the device.
template <class T>
__device__ void write_result(const T* logits, const RowSummary& row, int vocabulary, int id, TokenDraw::Drawn* drawn,
                             std::int32_t* on_device) {
  const bool finite = row.first_bad >= vocabulary;
  *drawn = {finite ? id : 0, finite ? 1 : 0, finite ? 0.0 : static_cast<double>(logits[row.first_bad])};
  *on_device = finite ? id : 0;
}

template <class T>
__global__ void __launch_bounds__(kDrawThreads)
    most_likely_kernel(const T* logits, DrawSettings p, TokenDraw::Drawn* drawn, std::int32_t* on_device) {
  wait_for_previous();
  const T* row_logits = logits + blockIdx.x * p.stride;
  const RowSummary row = summary_of_row(row_logits, p.vocabulary);
  if (threadIdx.x == 0) {
    write_result(row_logits, row, p.vocabulary, row.best.id, drawn + blockIdx.x, on_device + blockIdx.x);
  }
}

// The sum of `mine` over the threads before this one, and over all: in the order of the threads.
__device__ double sum_before(double mine, double* all) {
  __shared__ double of_warps[kDrawWarps + 1];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  double inclusive = mine;
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const double other = __shfl_up_sync(0xffffffffU, inclusive, distance);
    if (lane >= distance) inclusive += other;
  }
  __syncthreads();  // an earlier call has been read
  if (lane == kWarp - 1) of_warps[threadIdx.x / kWarp] = inclusive;
  __syncthreads();
  double before = 0;
  double total = 0;
  for (int w = 0; w < kDrawWarps; ++w) {
    if (w == static_cast<int>(threadIdx.x) / kWarp) before = total;
    total += of_warps[w];
  }
  *all = total;
  return before + (inclusive - mine);
}

// The index of the candidate that is drawn. value(i): the i-th largest logit; each thread has candidates side by side.
template <class Value>
__device__ int drawn_index(const DrawSettings& p, double uniform, const Value& value) {
  __shared__ int found;
  const int each = (p.candidates + kDrawThreads - 1) / kDrawThreads;
  const int begin = min(static_cast<int>(threadIdx.x) * each, p.candidates);
  int end = min(begin + each, p.candidates);
  const double top = value(0);
  const auto weight = [&](int i) { return exp((value(i) - top) / p.temperature); };
  double mine = 0;
  for (int i = begin; i < end; ++i) mine += weight(i);
  double total = 0;
  double before = sum_before(mine, &total);
  int last = p.candidates - 1;
  const auto keep_up_to_found = [&] {
    __syncthreads();
    last = found;
    __syncthreads();
    end = min(end, last + 1);
    mine = 0;
    for (int i = begin; i < end; ++i) mine += weight(i);
    before = sum_before(mine, &total);
  };
  if (p.top_p < 1) {
    // The likeliest until their sum reaches top_p: the first whose sum with all before it does is the last one kept.
    if (threadIdx.x == 0) found = last;
    __syncthreads();
    double kept = before;
    for (int i = begin; i < end; ++i) {
      const bool below = kept < p.top_p * total;
      kept += weight(i);
      if (below && kept >= p.top_p * total) atomicMin(&found, i);
    }
    keep_up_to_found();
  }
  if (p.min_p > 0) {  // the likeliest candidate has the weight 1
    if (threadIdx.x == 0) found = last;
    __syncthreads();
    for (int i = begin; i < end; ++i) {
      if (weight(i) >= p.min_p) continue;
      atomicMin(&found, i - 1);
      break;
    }
    keep_up_to_found();
  }
  if (threadIdx.x == 0) found = last;
  __syncthreads();
  const double point = uniform * total;
  double sum = before;
  for (int i = begin; i < end; ++i) {
    sum += weight(i);
    if (sum > point) {
      atomicMin(&found, i);
      break;
    }
  }
  __syncthreads();
  return found;
}

// A row of at most kMostSorted logits, sorted by the block: descending, of equals the lower id first.
template <class T>
__global__ void __launch_bounds__(kDrawThreads) sort_and_draw_kernel(const T* logits, DrawSettings p, Uniforms uniforms,
                                                                     TokenDraw::Drawn* drawn, std::int32_t* on_device) {
  __shared__ Best sorted[kMostSorted];
  wait_for_previous();
  const T* row_logits = logits + blockIdx.x * p.stride;
  const RowSummary row = summary_of_row(row_logits, p.vocabulary);
  int size = 2;
  while (size < p.vocabulary) size *= 2;
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kDrawThreads) {
    sorted[i] = i < p.vocabulary ? Best{static_cast<double>(row_logits[i]), i} : Best{-INFINITY, i};
  }
  for (int run = 2; run <= size; run *= 2) {
    for (int distance = run / 2; distance > 0; distance /= 2) {
      __syncthreads();
      for (int pair = static_cast<int>(threadIdx.x); pair < size / 2; pair += kDrawThreads) {
        const int i = pair / distance * 2 * distance + pair % distance;
        const int j = i + distance;
        const bool descending = (i & run) == 0;
        const Best a = sorted[i];
        const Best b = sorted[j];
        const bool in_order = better(a, b).id == a.id;
        if (in_order != descending) {
          sorted[i] = b;
          sorted[j] = a;
        }
      }
    }
  }
  __syncthreads();
  const int index = drawn_index(p, uniforms.of_row[blockIdx.x], [&](int i) { return sorted[i].value; });
  if (threadIdx.x == 0) {
    write_result(row_logits, row, p.vocabulary, sorted[index].id, drawn + blockIdx.x, on_device + blockIdx.x);
  }
}

// The same of one row that was sorted before.
template <class T, class Key>
__global__ void __launch_bounds__(kDrawThreads)
    draw_kernel(const T* logits, const Key* keys, const std::int32_t* ids, DrawSettings p, double uniform,
                TokenDraw::Drawn* drawn, std::int32_t* on_device) {
  wait_for_previous();
  const RowSummary row = summary_of_row(logits, p.vocabulary);
  const int index = drawn_index(p, uniform, [&](int i) { return static_cast<double>(keys[i]); });
  if (threadIdx.x == 0) write_result(logits, row, p.vocabulary, ids[index], drawn, on_device);
}

// A row of any length, sorted by the library.
template <class T>
void sort_and_draw_row(Device device, const T* logits, const DrawSettings& p, double uniform, TokenDraw::Drawn* drawn,
                       std::int32_t* on_device) {
  using Key = acc_t<T>;
  const Tensor keys = Tensor::empty({2, p.vocabulary}, dtype_of<Key>(), device);
  const Tensor ids = Tensor::empty({2, p.vocabulary}, DType::i32, device);
  Key* key = keys.data<Key>();
  std::int32_t* id = ids.data<std::int32_t>();
  for_each("token draw", device, p.vocabulary, [=] __device__(std::int64_t v) {
    key[v] = Key(logits[v]) + Key(0);  // -0 becomes 0: they are equal
    id[v] = static_cast<std::int32_t>(v);
  });
  std::size_t bytes = 0;
  const auto sort = [&](void* memory) {  // null: only says how many bytes it needs
    check(cub::DeviceRadixSort::SortPairsDescending(memory, bytes, key, key + p.vocabulary, id, id + p.vocabulary,
                                                    p.vocabulary, 0, static_cast<int>(sizeof(Key)) * 8, stream(device)),
          "cub::DeviceRadixSort::SortPairsDescending", "token draw");
  };
  sort(nullptr);
  const Tensor memory = Tensor::empty({static_cast<std::int64_t>(bytes / 4 + 1)}, DType::i32, device);
  sort(memory.raw());
  launch("token draw", device, 1, kDrawThreads, 0, draw_kernel<T, Key>, logits, key + p.vocabulary, id + p.vocabulary,
         p, uniform, drawn, on_device);
}

class DeviceDraw final : public TokenDraw {
 public:
  DeviceDraw(std::int64_t batch, Device device)
      : device_(device), ids_(Tensor::zeros({batch}, DType::i32, device)), done_(device) {
    void* memory = nullptr;
    MIXGRAD_CUDA_CALL("token draw", cudaMallocHost(&memory, static_cast<std::size_t>(batch) * sizeof(Drawn)));
    drawn_ = static_cast<Drawn*>(memory);
  }
  ~DeviceDraw() override { cudaFreeHost(drawn_); }
  DeviceDraw(const DeviceDraw&) = delete;
  DeviceDraw& operator=(const DeviceDraw&) = delete;

  void draw(const Tensor& logits, std::int64_t vocabulary, const SamplingOptions& options,
            std::span<const double> uniforms) override {
    const std::int64_t all = options.top_k > 0 ? std::min(options.top_k, vocabulary) : vocabulary;
    const DrawSettings p{options.temperature,          options.top_p, options.min_p, static_cast<int>(all),
                         static_cast<int>(vocabulary), logits.cols()};
    dispatch_float(logits.dtype(), "token draw", [&]<class T>() { draw_rows(logits.data<T>(), p, uniforms); });
    done_.record();
  }
  const std::int32_t* on_device() const override { return ids_.data<std::int32_t>(); }
  std::span<const Drawn> wait() override {
    done_.wait();
    return {drawn_, static_cast<std::size_t>(ids_.numel())};
  }

 private:
  template <class T>
  void draw_rows(const T* logits, const DrawSettings& p, std::span<const double> uniforms) {
    const std::int64_t batch = ids_.numel();
    std::int32_t* ids = ids_.data<std::int32_t>();
    if (p.temperature == 0) {
      launch("token draw", device_, static_cast<unsigned>(batch), kDrawThreads, 0, most_likely_kernel<T>, logits, p,
             drawn_, ids);
      return;
    }
    if (p.vocabulary > kMostSorted) {
      for (std::int64_t b = 0; b < batch; ++b) {
        sort_and_draw_row(device_, logits + b * p.stride, p, uniforms[static_cast<std::size_t>(b)], drawn_ + b,
                          ids + b);
      }
      return;
    }
    for (std::int64_t first = 0; first < batch; first += kRowsOfLaunch) {
      const std::int64_t count = std::min(kRowsOfLaunch, batch - first);
      Uniforms some{};
      std::copy_n(uniforms.begin() + first, count, some.of_row);
      launch("token draw", device_, static_cast<unsigned>(count), kDrawThreads, 0, sort_and_draw_kernel<T>,
             logits + first * p.stride, p, some, drawn_ + first, ids + first);
    }
  }

  Device device_;
  Tensor ids_;              // [B] i32
  Drawn* drawn_ = nullptr;  // [B], host memory that the device writes
  Event done_;
};

}  // namespace

std::unique_ptr<TokenDraw> make_token_draw(std::int64_t batch, Device device) {
  return std::make_unique<DeviceDraw>(batch, device);
}

}  // namespace mixgrad::cuda
