#include "ops/elementwise/elementwise_kernels.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {
namespace {

// y[r,c] = f(x[r,c]) over fixed blocks of rows; a single long row (width above 16 Ki) is one task.
template <class T, class F>
void map_rows(const Tensor& x, const Tensor& y, const F& f) {
  const Rows<T> in(x);
  const Rows<T> out(y);
  parallel_rows(in.count, rows_per_task(in.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
    for (std::int64_t r = begin; r < end; ++r) {
      const T* a = in[r];
      T* b = out[r];
#pragma omp simd
      for (std::int64_t c = 0; c < in.width; ++c) assign(b[c], f(acc_t<T>(a[c])));
    }
  });
}

// to[c] (+)= value(c). Two loops: with the choice inside, GCC 12 leaves the loop scalar (the read of `to` might trap).
template <class T, class Value>
void put_row(T* to, std::int64_t width, bool add, const Value& value) {
  if (add) {
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) assign(to[c], acc_t<T>(to[c]) + value(c));
  } else {
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) assign(to[c], value(c));
  }
}

template <class Function, class T>
void backward_rows(const Tensor& x, const Tensor& dy, const GradTarget& dx) {
  using A = acc_t<T>;
  const Rows<T> in(x);
  const Rows<T> up(dy);
  const Rows<T> out(dx.tensor);
  parallel_rows(in.count, rows_per_task(in.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
    for (std::int64_t r = begin; r < end; ++r) {
      const T* a = in[r];
      const T* d = up[r];
      T* g = out[r];
      put_row<T>(g, in.width, dx.add, [&](std::int64_t c) { return A(d[c]) * Function::df(A(a[c])); });
    }
  });
}

}  // namespace

void unary_forward(UnaryFunction function, const Tensor& x, const Tensor& y) {
  dispatch_unary(function, [&]<class Function>() {
    dispatch_float(x.dtype(), "unary function",
                   [&]<class T>() { map_rows<T>(x, y, [](auto value) { return Function::f(value); }); });
  });
}

void unary_backward(UnaryFunction function, const Tensor& x, const Tensor& dy, const GradTarget& dx) {
  dispatch_unary(function, [&]<class Function>() {
    dispatch_float(x.dtype(), "unary function", [&]<class T>() { backward_rows<Function, T>(x, dy, dx); });
  });
}

void swiglu_forward(const Tensor& gate, const Tensor& up, const Tensor& y) {
  dispatch_float(gate.dtype(), "swiglu", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> g(gate);
    const Rows<T> u(up);
    const Rows<T> out(y);
    parallel_rows(g.count, rows_per_task(g.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T* a = g[r];
        const T* b = u[r];
        T* o = out[r];
#pragma omp simd
        for (std::int64_t c = 0; c < g.width; ++c) {
          assign(o[c], functions::Silu::f(A(a[c])) * A(b[c]));
        }
      }
    });
  });
}

void swiglu_backward(const Tensor& gate, const Tensor& up, const Tensor& dy, const GradTarget& dgate,
                     const GradTarget& dup) {
  dispatch_float(gate.dtype(), "swiglu", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> g(gate);
    const Rows<T> u(up);
    const Rows<T> d(dy);
    const Rows<T> dg(dgate.tensor);
    const Rows<T> du(dup.tensor);
    parallel_rows(g.count, rows_per_task(g.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T* a = g[r];
        const T* b = u[r];
        const T* dr = d[r];
        if (dg) {
          put_row<T>(dg[r], g.width, dgate.add,
                     [&](std::int64_t c) { return A(dr[c]) * A(b[c]) * functions::Silu::df(A(a[c])); });
        }
        if (du) {
          put_row<T>(du[r], g.width, dup.add, [&](std::int64_t c) { return A(dr[c]) * functions::Silu::f(A(a[c])); });
        }
      }
    });
  });
}

void add_forward(const Tensor& a, const Tensor& b, const Tensor& y) {
  dispatch_float(a.dtype(), "add", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> left(a);
    const Rows<T> right(b);
    const Rows<T> out(y);
    parallel_rows(left.count, rows_per_task(left.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        for (std::int64_t c = 0; c < left.width; ++c) out[r][c] = static_cast<T>(A(left[r][c]) + A(right[r][c]));
      }
    });
  });
}

}  // namespace mixgrad::cpu
