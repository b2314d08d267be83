#include <cmath>

#include "nn/training/optimizers/optimizer_blocks.cuh"

namespace mixgrad::cuda {
namespace {

template <class T>
void block_sums(const Tensor& gradient, const Tensor& blocks, const Tensor& sums) {
  const T* g = gradient.data<T>();
  const Rows<std::int32_t> rows(blocks);
  double* to = sums.data<double>();
  for_each_row("gradient norm", gradient.device(), rows.count, [=] __device__(std::int64_t i) {
    const std::int64_t begin = rows[i][0] * kBlockAlignment;
    double sum = 0;
    if ((rows[i][2] & kBlockTrainable) != 0) {
      for (std::int32_t j = static_cast<std::int32_t>(threadIdx.x); j < rows[i][1]; j += kRowThreads) {
        sum += static_cast<double>(g[begin + j]) * static_cast<double>(g[begin + j]);
      }
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) to[i] = sum;
  });
}

// progress.norm, and then finish(progress) by one thread.
template <class Finish>
void finish_norm(const Tensor& sums, const Tensor& progress, const Finish& finish) {
  const std::int64_t count = sums.numel();
  const double* from = sums.data<double>();
  StepProgress* to = step_progress(progress);
  for_each_row("gradient norm", sums.device(), 1, [=] __device__(std::int64_t) {
    double sum = 0;
    for (std::int64_t i = threadIdx.x; i < count; i += kRowThreads) sum += from[i];
    sum = block_sum(sum);
    if (threadIdx.x != 0) return;
    to->norm = sqrt(sum);
    finish(*to);
  });
}

struct NormOnly {
  __device__ void operator()(StepProgress&) const {}
};

struct BeginStep {
  double clip;
  __device__ void operator()(StepProgress& now) const {
    if (!isfinite(now.norm) || !isfinite(now.loss)) now.halted = 1;
    if (now.halted != 0) return;
    ++now.steps;
    const double scale = clip / (now.norm + 1e-6);
    now.scale = scale < 1 ? scale : 1.0;
  }
};

}  // namespace

void square_sums(const Tensor& gradient, const Tensor& blocks, const Tensor& sums) {
  dispatch_accumulation(gradient.dtype(), "gradient norm", [&]<class T>() { block_sums<T>(gradient, blocks, sums); });
}

void gradient_norm(const Tensor& sums, const Tensor& progress) { finish_norm(sums, progress, NormOnly{}); }

void begin_step(const Tensor& sums, double clip, const Tensor& progress) {
  finish_norm(sums, progress, BeginStep{clip});
}

void copy_pieces(const Tensor& from, const Tensor& to, const Tensor& pieces, const Tensor& progress) {
  const float* source = from.data<float>();
  float* target = to.data<float>();
  const StepProgress* now = step_progress(progress);
  const Rows<std::int32_t> rows(pieces);
  for_each_row("copy of masters", to.device(), rows.count, [=] __device__(std::int64_t i) {
    const std::int32_t* piece = rows[i];
    if (now->halted != 0) return;
    const std::int64_t from_begin = piece[0] * kBlockAlignment;
    const std::int64_t to_begin = piece[1] * kBlockAlignment;
    for (std::int32_t j = static_cast<std::int32_t>(threadIdx.x); j < piece[2]; j += kRowThreads) {
      target[to_begin + j] = source[from_begin + j];
    }
  });
}

}  // namespace mixgrad::cuda
