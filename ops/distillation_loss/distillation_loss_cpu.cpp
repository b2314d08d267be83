#include <cmath>
#include <limits>

#include "core/numeric/vec_math.h"
#include "ops/distillation_loss/distillation_loss_kernels.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {
namespace {

// KL(p || q') of one row, from the log sums of exponentials of both.
template <class A, class T>
A divergence_of(const T* z, const T* w, std::int64_t width, A cold, A of_student, A of_teacher) {
  A divergence = 0;
#pragma omp simd reduction(+ : divergence)
  for (std::int64_t v = 0; v < width; ++v) {
    const A log_p = cold * A(w[v]) - of_teacher;
    divergence += exp_value(log_p) * (log_p - (cold * A(z[v]) - of_student));
  }
  return divergence;
}

// log sum_v exp(scale row[v])
template <class A, class T>
A log_sum_exp(const T* row, std::int64_t width, A scale) {
  A top = -std::numeric_limits<A>::infinity();
#pragma omp simd reduction(max : top)
  for (std::int64_t v = 0; v < width; ++v) top = scale * A(row[v]) > top ? scale * A(row[v]) : top;
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t v = 0; v < width; ++v) sum += exp_value(scale * A(row[v]) - top);
  return top + std::log(sum);
}

std::int64_t rows_with_target(const Tensor& targets) {
  const std::int32_t* ids = targets.data<std::int32_t>();
  std::int64_t count = 0;
  for (std::int64_t r = 0; r < targets.numel(); ++r) count += ids[r] >= 0 ? 1 : 0;
  return count;
}

}  // namespace

void distillation_loss_forward(const Tensor& logits, const Tensor& teacher, const Tensor& targets,
                               const Distillation& how, const Tensor& loss) {
  dispatch_float(logits.dtype(), "distillation_loss", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> student(logits);
    const Rows<T> wanted(teacher);
    const Tensor row_loss = Tensor::empty({student.count}, dtype_of<A>());
    A* losses = row_loss.data<A>();
    const std::int32_t* ids = targets.data<std::int32_t>();
    const A cold = static_cast<A>(1 / how.temperature);
    const A plain = static_cast<A>(1 - how.mix);
    const A soft = static_cast<A>(how.mix * how.temperature * how.temperature);
    parallel_rows(student.count, rows_per_task(student.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        losses[r] = 0;
        if (ids[r] < 0) continue;
        const T* z = student[r];
        const T* w = wanted[r];
        const A of_student = log_sum_exp(z, student.width, cold);
        const A of_teacher = log_sum_exp(w, student.width, cold);
        const A divergence = divergence_of(z, w, student.width, cold, of_student, of_teacher);
        losses[r] = plain * (log_sum_exp(z, student.width, A(1)) - A(z[ids[r]])) + soft * divergence;
      }
    });
    double sum = 0;
    for (std::int64_t r = 0; r < student.count; ++r) sum += static_cast<double>(losses[r]);
    const std::int64_t live = rows_with_target(targets);
    *loss.data<A>() = static_cast<A>(live == 0 ? 0.0 : sum / static_cast<double>(live));
  });
}

void distillation_loss_backward(const Tensor& logits, const Tensor& teacher, const Tensor& targets,
                                const Distillation& how, const Tensor& dloss, const GradTarget& dlogits,
                                const GradTarget& dteacher) {
  dispatch_float(logits.dtype(), "distillation_loss", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> student(logits);
    const Rows<T> wanted(teacher);
    const Rows<T> to(dlogits.tensor);
    const Rows<T> to_teacher(dteacher.tensor);
    const bool add = dlogits.add;
    const bool add_teacher = dteacher.add;
    const std::int64_t width = student.width;
    const std::int32_t* ids = targets.data<std::int32_t>();
    const std::int64_t live = rows_with_target(targets);
    const A each = live == 0 ? A(0) : *dloss.data<A>() / static_cast<A>(live);
    const A cold = static_cast<A>(1 / how.temperature);
    const A plain = each * static_cast<A>(1 - how.mix);
    const A soft = each * static_cast<A>(how.mix * how.temperature);
    parallel_rows(student.count, rows_per_task(student.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T* z = student[r];
        const T* w = wanted[r];
        const std::int32_t target = ids[r];
        if (target < 0) {
          for (std::int64_t v = 0; v < student.width; ++v) {
            if (to) put(to[r][v], dlogits.add, A(0));
            if (to_teacher) put(to_teacher[r][v], dteacher.add, A(0));
          }
          continue;
        }
        const A of_targets = log_sum_exp(z, student.width, A(1));
        const A of_student = log_sum_exp(z, student.width, cold);
        const A of_teacher = log_sum_exp(w, student.width, cold);
        if (to) {
          T* dz = to[r];
          const auto value = [=](std::int64_t v) {
            const A apart = exp_value(cold * A(z[v]) - of_student) - exp_value(cold * A(w[v]) - of_teacher);
            return plain * exp_value(A(z[v]) - of_targets) + soft * apart;
          };
          const A before = add ? A(dz[target]) : A(0);
#pragma omp simd
          for (std::int64_t v = 0; v < width; ++v) {
            const A all = value(v);
            put(dz[v], add, all);
          }
          dz[target] = static_cast<T>(before + value(target) - plain);  // the one-hot part
        }
        if (to_teacher) {
          T* dw = to_teacher[r];
          const A divergence = divergence_of(z, w, student.width, cold, of_student, of_teacher);
#pragma omp simd
          for (std::int64_t v = 0; v < width; ++v) {
            const A log_p = cold * A(w[v]) - of_teacher;
            const A value = soft * exp_value(log_p) * (log_p - (cold * A(z[v]) - of_student) - divergence);
            put(dw[v], add_teacher, value);
          }
        }
      }
    });
  });
}

}  // namespace mixgrad::cpu
