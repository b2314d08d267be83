#include <cmath>

#include "core/cuda/launch.cuh"
#include "core/numeric/vec_math.h"
#include "ops/distillation_loss/distillation_loss_kernels.h"
#include "ops/support/target_mean.cuh"

namespace mixgrad::cuda {
namespace {

// log sum_v exp(scale row[v]), by all threads of a block.
template <class A, class T>
__device__ A log_sum_exp(const T* row, std::int64_t width, A scale) {
  A top = scale * A(row[0]);
  for (std::int64_t v = threadIdx.x; v < width; v += kRowThreads) {
    const A value = scale * A(row[v]);
    top = value > top ? value : top;
  }
  top = block_max(top);
  A sum = 0;
  for (std::int64_t v = threadIdx.x; v < width; v += kRowThreads) sum += exp_value(scale * A(row[v]) - top);
  return top + std::log(block_sum(sum));
}

// KL(p || q') of one row, from the log sums of exponentials of both, by all threads of a block.
template <class A, class T>
__device__ A divergence_of(const T* z, const T* w, std::int64_t width, A cold, A of_student, A of_teacher) {
  A divergence = 0;
  for (std::int64_t v = threadIdx.x; v < width; v += kRowThreads) {
    const A log_p = cold * A(w[v]) - of_teacher;
    divergence += exp_value(log_p) * (log_p - (cold * A(z[v]) - of_student));
  }
  return block_sum(divergence);
}

// count [1] i32: the rows with a target.
void count_rows(Device device, std::int64_t rows, const std::int32_t* ids, std::int32_t* count) {
  for_each_row("distillation_loss", device, 1, [=] __device__(std::int64_t) {
    std::int32_t live = 0;
    for (std::int64_t r = threadIdx.x; r < rows; r += kRowThreads) live += ids[r] >= 0 ? 1 : 0;
    live = block_sum(live);
    if (threadIdx.x == 0) *count = live;
  });
}

template <class T>
void forward(const Tensor& logits, const Tensor& teacher, const Tensor& targets, const Distillation& how,
             const Tensor& loss) {
  using A = acc_t<T>;
  const Rows<T> student(logits);
  const Rows<T> wanted(teacher);
  const std::int64_t rows = student.count;
  const std::int64_t width = student.width;
  const Tensor row_loss = Tensor::empty({rows}, dtype_of<A>(), logits.device());
  A* losses = row_loss.data<A>();
  const std::int32_t* ids = targets.data<std::int32_t>();
  const A cold = static_cast<A>(1 / how.temperature);
  const A plain = static_cast<A>(1 - how.mix);
  const A soft = static_cast<A>(how.mix * how.temperature * how.temperature);
  for_each_row("distillation_loss", logits.device(), rows, [=] __device__(std::int64_t r) {
    const std::int32_t target = ids[r];
    if (target < 0 || target >= width) {  // the same for all threads of the block
      if (threadIdx.x == 0) losses[r] = target == -1 ? A(0) : A(NAN);
      return;
    }
    const T* z = student[r];
    const T* w = wanted[r];
    const A of_student = log_sum_exp(z, width, cold);
    const A of_teacher = log_sum_exp(w, width, cold);
    const A of_targets = log_sum_exp(z, width, A(1));
    const A divergence = divergence_of(z, w, width, cold, of_student, of_teacher);
    if (threadIdx.x != 0) return;
    losses[r] = plain * (of_targets - A(z[target])) + soft * divergence;
  });
  mean_of_target_rows<A>("distillation_loss", logits.device(), rows, losses, ids, loss.data<A>(), nullptr);
}

template <class T>
void backward(const Tensor& logits, const Tensor& teacher, const Tensor& targets, const Distillation& how,
              const Tensor& dloss, const GradTarget& dlogits, const GradTarget& dteacher) {
  using A = acc_t<T>;
  const Target<T> to(dlogits.tensor, dlogits.add);
  const Target<T> to_teacher(dteacher.tensor, dteacher.add);
  const Rows<T> student(logits);
  const Rows<T> wanted(teacher);
  const std::int64_t width = student.width;
  const Tensor counted = Tensor::empty({1}, DType::i32, logits.device());
  const std::int32_t* ids = targets.data<std::int32_t>();
  std::int32_t* count = counted.data<std::int32_t>();
  count_rows(logits.device(), student.count, ids, count);
  const A* up = dloss.data<A>();
  const A cold = static_cast<A>(1 / how.temperature);
  const A plain = static_cast<A>(1 - how.mix);
  const A soft = static_cast<A>(how.mix * how.temperature);
  for_each_row("distillation_loss", logits.device(), student.count, [=] __device__(std::int64_t r) {
    const std::int32_t target = ids[r];
    if (target < 0 || target >= width) {  // the same for all threads of the block
      const A nothing = target == -1 ? A(0) : A(NAN);
      for (std::int64_t v = threadIdx.x; v < width; v += kRowThreads) {
        if (to) to.put(r, v, nothing);
        if (to_teacher) to_teacher.put(r, v, nothing);
      }
      return;
    }
    const T* z = student[r];
    const T* w = wanted[r];
    const A of_student = log_sum_exp(z, width, cold);
    const A of_teacher = log_sum_exp(w, width, cold);
    const A of_targets = log_sum_exp(z, width, A(1));
    const A divergence = to_teacher ? divergence_of(z, w, width, cold, of_student, of_teacher) : A(0);
    const A each = *up / static_cast<A>(*count);
    for (std::int64_t v = threadIdx.x; v < width; v += kRowThreads) {
      const A own = exp_value(A(z[v]) - of_targets) - (v == target ? A(1) : A(0));
      const A log_q = cold * A(z[v]) - of_student;
      const A log_p = cold * A(w[v]) - of_teacher;
      const A p = exp_value(log_p);
      if (to) to.put(r, v, each * (plain * own + soft * (exp_value(log_q) - p)));
      if (to_teacher) to_teacher.put(r, v, each * soft * p * (log_p - log_q - divergence));
    }
  });
}

}  // namespace

void distillation_loss_forward(const Tensor& logits, const Tensor& teacher, const Tensor& targets,
                               const Distillation& how, const Tensor& loss) {
  dispatch_float(logits.dtype(), "distillation_loss",
                 [&]<class T>() { forward<T>(logits, teacher, targets, how, loss); });
}

void distillation_loss_backward(const Tensor& logits, const Tensor& teacher, const Tensor& targets,
                                const Distillation& how, const Tensor& dloss, const GradTarget& dlogits,
                                const GradTarget& dteacher) {
  dispatch_float(logits.dtype(), "distillation_loss",
                 [&]<class T>() { backward<T>(logits, teacher, targets, how, dloss, dlogits, dteacher); });
}

}  // namespace mixgrad::cuda
