// The gradient of the table, of small vocabularies by a block for each id, of large ones by sorting the rows by their
// ids.
#include <bit>
#include <cstdint>
#include <cub/device/device_radix_sort.cuh>

#include "core/cuda/launch.cuh"
#include "ops/embedding/embedding_blocks.h"
#include "ops/embedding/embedding_kernels.h"

namespace mixgrad::cuda {
namespace {

template <class T>
void forward(const Tensor& tokens, const Tensor& weight, const Tensor& positions, TokenPosition first_position,
             const Tensor& y) {
  using A = acc_t<T>;
  const std::int32_t* ids = tokens.data<std::int32_t>();
  const std::int64_t steps = tokens.dim(1);
  const Rows<T> table(weight);
  const Rows<T> position_table(positions);
  const Rows<A> out(y);
  for_each_cell("embedding", weight.device(), out.count, out.width, [=] __device__(std::int64_t r, std::int64_t c) {
    const bool known = ids[r] >= 0 && ids[r] < table.count;
    const A value = known ? A(table[ids[r]][c]) : A(NAN);
    out[r][c] = position_table ? value + A(position_table[first_position.value() + r % steps][c]) : value;
  });
}

inline constexpr std::int64_t kSegment = kEmbeddingSegmentRows;

// Block (segment, id) adds up the rows with that id in its segment, in order; then the segments are added in order.
template <class T>
void backward_by_id(const Tensor& tokens, const Tensor& dy, const GradTarget& dweight) {
  using A = acc_t<T>;
  const std::int32_t* ids = tokens.data<std::int32_t>();
  const Rows<T> up(dy);
  const Rows<A> to(dweight.tensor);
  const std::int64_t vocabulary = dweight.tensor.dim(0);
  const std::int64_t width = up.width;
  const std::int64_t segments = (up.count + kSegment - 1) / kSegment;
  const Tensor scratch = Tensor::empty({segments, vocabulary, width}, dtype_of<A>(), dy.device());
  A* partial = scratch.data<A>();
  for_each_row("embedding", dy.device(), segments * vocabulary, [=] __device__(std::int64_t block) {
    __shared__ std::int32_t rows[kSegment];  // those with the id, ascending
    __shared__ int offsets[kRowThreads];
    const std::int64_t id = block % vocabulary;
    const std::int64_t begin = block / vocabulary * kSegment;
    const std::int64_t end = begin + kSegment < up.count ? begin + kSegment : up.count;
    constexpr std::int64_t kEach = kSegment / kRowThreads;
    const std::int64_t mine = begin + static_cast<std::int64_t>(threadIdx.x) * kEach;
    int found = 0;
    for (std::int64_t r = mine; r < mine + kEach && r < end; ++r) found += ids[r] == id ? 1 : 0;
    offsets[threadIdx.x] = found;
    __syncthreads();
    int before = 0;
    int total = 0;
    for (int t = 0; t < kRowThreads; ++t) {
      if (t == static_cast<int>(threadIdx.x)) before = total;
      total += offsets[t];
    }
    for (std::int64_t r = mine; r < mine + kEach && r < end; ++r) {
      if (ids[r] == id) rows[before++] = static_cast<std::int32_t>(r);
    }
    __syncthreads();
    for (std::int64_t c = threadIdx.x; c < width; c += kRowThreads) {
      A sum = 0;
      for (int i = 0; i < total; ++i) sum += A(up[rows[i]][c]);
      partial[block * width + c] = sum;
    }
    __syncthreads();  // the next block of this thread block may write
  });
  const bool add = dweight.add;
  for_each("embedding", dy.device(), vocabulary * width, [=] __device__(std::int64_t i) {
    A sum = 0;
    for (std::int64_t s = 0; s < segments; ++s) sum += partial[s * vocabulary * width + i];
    A& element = to[i / width][i % width];
    element = add ? element + sum : sum;
  });
}

// The rows in the order of their ids; of one id, ascending (the sort is stable). Both [n].
struct SortedRows {
  Tensor ids;  // unknown ones, as the id `vocabulary`, at the end
  Tensor rows;
};

SortedRows sort_rows(const Tensor& tokens, std::int64_t vocabulary) {
  const Device device = tokens.device();
  const std::int64_t count = tokens.numel();
  MIXGRAD_ASSERT(count <= INT32_MAX && vocabulary < INT32_MAX, "tokens and vocabulary are counted in 32 bits");
  const auto fresh = [&] { return Tensor::empty({count}, DType::i32, device); };
  const Tensor unsorted_ids = fresh();
  const Tensor unsorted_rows = fresh();
  const SortedRows sorted{fresh(), fresh()};
  const std::int32_t* given = tokens.data<std::int32_t>();
  auto* ids = unsorted_ids.data<std::int32_t>();
  auto* rows = unsorted_rows.data<std::int32_t>();
  const auto unknown = static_cast<std::int32_t>(vocabulary);
  for_each("embedding", device, count, [=] __device__(std::int64_t r) {
    ids[r] = given[r] >= 0 && given[r] < unknown ? given[r] : unknown;
    rows[r] = static_cast<std::int32_t>(r);
  });
  const int bits = std::bit_width(static_cast<std::uint32_t>(vocabulary));  // of the largest, `vocabulary` itself
  std::size_t bytes = 0;
  const auto sort = [&](void* memory) {  // null: only says how many bytes it needs
    const cudaError_t error = cub::DeviceRadixSort::SortPairs(memory, bytes, ids, sorted.ids.data<std::int32_t>(), rows,
                                                              sorted.rows.data<std::int32_t>(), static_cast<int>(count),
                                                              0, bits, stream(device));
    check(error, "cub::DeviceRadixSort::SortPairs", "embedding");
  };
  sort(nullptr);
  const Tensor memory = Tensor::empty({static_cast<std::int64_t>(bytes / 4 + 1)}, DType::i32, device);
  sort(memory.raw());
  return sorted;
}

// Rows of one id stand together now. A block adds up those of kPiece sorted rows: what begins and ends there goes to
// the table, what goes on into other pieces to `heads` (of the id that the piece begins with, where it began before) or
// to `tails` (of the id that it ends with, where it began here and goes on); then the tails are joined with the heads
// after them, in order. A block has kRowThreads columns.
constexpr std::int64_t kPiece = kEmbeddingPieceRows;
constexpr int kTogether = 8;  // rows that a thread loads at once

template <class T>
void backward_by_sort(const Tensor& tokens, const Tensor& dy, const GradTarget& dweight) {
  using A = acc_t<T>;
  const bool add = dweight.add;
  if (!add) dweight.tensor.zero();
  const std::int64_t vocabulary = dweight.tensor.dim(0);
  const SortedRows sorted = sort_rows(tokens, vocabulary);
  const std::int32_t* ids = sorted.ids.data<std::int32_t>();
  const std::int32_t* rows = sorted.rows.data<std::int32_t>();
  const Rows<T> up(dy);
  const Rows<A> to(dweight.tensor);
  const std::int64_t width = up.width;
  const std::int64_t count = up.count;
  const std::int64_t parts = (width + kRowThreads - 1) / kRowThreads;
  const std::int64_t pieces = (count + kPiece - 1) / kPiece;
  const Tensor scratch = Tensor::empty({2, pieces, width}, dtype_of<A>(), dy.device());
  A* heads = scratch.data<A>();
  A* tails = heads + pieces * width;
  const auto put = [=] __device__(std::int32_t id, std::int64_t c, A sum) {
    A& element = to[id][c];
    element = add ? element + sum : sum;
  };
  for_each_row("embedding", dy.device(), pieces * parts, [=] __device__(std::int64_t block) {
    __shared__ std::int32_t id_of[kPiece + 2];  // of the row before the piece, its rows, the row after it; -1: none
    __shared__ std::int32_t row_of[kPiece];
    const std::int64_t piece = block / parts;
    const std::int64_t begin = piece * kPiece;
    for (std::int64_t i = threadIdx.x; i < kPiece + 2; i += kRowThreads) {
      const std::int64_t at = begin + i - 1;
      const bool there = at >= 0 && at < count;
      id_of[i] = there ? ids[at] : -1;
      if (i > 0 && i <= kPiece) row_of[i - 1] = there ? rows[at] : 0;
    }
    __syncthreads();
    const std::int64_t c = block % parts * kRowThreads + threadIdx.x;
    if (c < width) {
      const int number = static_cast<int>(begin + kPiece < count ? kPiece : count - begin);
      A sum = 0;
      bool began_before = id_of[0] == id_of[1];
      for (int first = 0; first < number; first += kTogether) {
        A values[kTogether];
#pragma unroll
        for (int i = 0; i < kTogether; ++i) values[i] = first + i < number ? A(up[row_of[first + i]][c]) : A(0);
#pragma unroll
        for (int i = 0; i < kTogether; ++i) {
          if (first + i >= number) break;
          const std::int32_t id = id_of[first + i + 1];
          sum += values[i];
          if (id_of[first + i + 2] == id && first + i + 1 < number) continue;
          const bool goes_on = id_of[first + i + 2] == id;
          if (id < vocabulary) {
            if (began_before) {
              heads[piece * width + c] = sum;
            } else if (goes_on) {
              tails[piece * width + c] = sum;
            } else {
              put(id, c, sum);
            }
          }
          sum = 0;
          began_before = false;
        }
      }
    }
    __syncthreads();  // the next block of this thread block may write
  });
  for_each_row("embedding", dy.device(), pieces * parts, [=] __device__(std::int64_t block) {
    const std::int64_t piece = block / parts;
    const std::int64_t end = (piece + 1) * kPiece;
    if (end >= count) return;
    const std::int32_t id = ids[end - 1];
    const bool began_here = piece == 0 || ids[piece * kPiece - 1] != id;
    if (id >= vocabulary || ids[end] != id || !began_here) return;
    std::int64_t last = piece + 1;  // the piece that the id ends in
    while ((last + 1) * kPiece < count && ids[(last + 1) * kPiece] == id) ++last;
    const std::int64_t c = block % parts * kRowThreads + threadIdx.x;
    if (c >= width) return;
    A sum = tails[piece * width + c];
#pragma unroll 8
    for (std::int64_t i = piece + 1; i <= last; ++i) sum += heads[i * width + c];
    put(id, c, sum);
  });
}

// By id while the partial sums take no more than four times the rows.
template <class T>
void backward_weight(const Tensor& tokens, const Tensor& dy, const GradTarget& dweight) {
  if (dweight.tensor.dim(0) <= kEmbeddingSmallTable) {
    backward_by_id<T>(tokens, dy, dweight);
  } else {
    backward_by_sort<T>(tokens, dy, dweight);
  }
}

template <class T>
void backward_positions(std::int64_t steps, std::int64_t first_position, const Tensor& dy,
                        const GradTarget& dpositions) {
  using A = acc_t<T>;
  if (!dpositions.add) dpositions.tensor.zero();
  const Rows<T> up(dy);
  const Rows<A> to(dpositions.tensor);
  for_each("embedding", dy.device(), steps * up.width, [=] __device__(std::int64_t i) {
    const std::int64_t t = i / up.width;
    const std::int64_t c = i % up.width;
    A sum = to[first_position + t][c];
    for (std::int64_t r = t; r < up.count; r += steps) sum += A(up[r][c]);
    to[first_position + t][c] = sum;
  });
}

}  // namespace

void embedding_forward(const Tensor& tokens, const Tensor& weight, const Tensor& positions,
                       TokenPosition first_position, const Tensor& y) {
  dispatch_float(weight.dtype(), "embedding",
                 [&]<class T>() { forward<T>(tokens, weight, positions, first_position, y); });
}

void embedding_backward(const Tensor& tokens, std::int64_t first_position, const Tensor& dy, const GradTarget& dweight,
                        const GradTarget& dpositions) {
  dispatch_float(dy.dtype(), "embedding", [&]<class T>() {
    if (dweight.tensor.defined()) backward_weight<T>(tokens, dy, dweight);
    if (dpositions.tensor.defined()) backward_positions<T>(tokens.dim(1), first_position, dy, dpositions);
  });
}

}  // namespace mixgrad::cuda
