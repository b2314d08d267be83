// The settings under which operators compute. A Context is a value that is handed on: a Placement carries it to a
// model, and the model computes under it, so that two models with different settings live side by side in one process.
//
//   const ContextScope scope({.matmul_precision = MatmulPrecision::medium, .threads = 1});
//   Tensor y = linear(x, w);        // computed under these settings, and so will be its gradient
//
// Operators read context(), that of the innermost scope of their thread. The tasks of a parallel_for compute under the
// context of the thread that started them, and the backward pass of an operator under the context of its forward pass.
#pragma once

#include "core/matmul_precision.h"

namespace mixgrad {

struct Context {
  MatmulPrecision matmul_precision = MatmulPrecision::highest;
  int threads = 0;  // that parallel_for uses; 0: those of the scope around, outermost OMP_NUM_THREADS or all cores
  bool check_devices = false;  // on CUDA, compare each operator with the CPU (core/dispatch/device_check.h)
  // On CUDA: no kernel in flight writes the weights and caches that a kernel reads, other than through the kernels
  // before the last one. A kernel may then load them before the one ahead of it has ended. Decides no bit. Decoder sets
  // it for its decoding steps.
  bool weights_at_rest = false;

  friend bool operator==(const Context&, const Context&) = default;
};

// The context of the calling thread: that of its innermost scope, or Context{}.
const Context& context();

// As context(), with another number of threads.
Context with_threads(int threads);

// Makes `context` the context of the calling thread until the scope ends. Scopes nest.
class ContextScope {
 public:
  explicit ContextScope(const Context& context);  // ValueError for a negative number of threads
  ~ContextScope();
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  Context own_;
  const Context* outer_;
};

}  // namespace mixgrad
