// Private to ops/matmul: what the dispatcher and the implementations share.
#pragma once

#include <cstdint>

#include "core/parallel.h"
#include "core/scratch.h"
#include "ops/matmul/matmul.h"

namespace mixgrad::cpu {

// Each implementation computes the whole batch. m, n, k and batch are at least 1 here; the dispatcher does the empty
// cases. `parallel` says whether parallel_for may be used.
template <class In, class Out>
void matmul_packed(const Product<In, Out>& product, bool parallel);
// On the processor's tile unit if it has one and `plain` is false, else on the one in plain loops. Not for f64.
template <class In, class Out>
void matmul_tiles(const Product<In, Out>& product, bool parallel, bool plain);
template <class In, class Out>
void matmul_eigen(const Product<In, Out>& product, bool parallel);
template <class In, class Out>
void matmul_naive(const Product<In, Out>& product, bool parallel);

// task(i) for i in [0, count): over the threads, or in order in the calling one.
template <class Task>
void run_tasks(bool parallel, std::int64_t count, const Task& task) {
  if (parallel) {
    parallel_for(count, task);
  } else {
    for (std::int64_t i = 0; i < count; ++i) task(i);
  }
}

// The b-th product of a batch, as a product of its own.
template <class In, class Out>
Product<In, Out> batch_item(Product<In, Out> product, std::int64_t b) {
  product.a += b * product.stride_a;
  product.b += b * product.stride_b;
  product.c += b * product.stride_c;
  if (product.bias != nullptr) product.bias += b * product.stride_bias;
  product.batch = 1;
  return product;
}

// What the blocked implementations share.
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

// Of the scratch: the operators that call a product in their tasks have the lower slots.
inline constexpr int kTaskSlot = kScratchSlots - 1;
inline constexpr int kCallerSlot = kScratchSlots - 2;

// one(product, parallel) for each of a batch, where a product by itself is cut into about `tasks`. A batch of small
// products, or of many, is cut between products; else each product is cut by itself.
template <class In, class Out, class One>
void each_product(const Product<In, Out>& p, bool parallel, std::int64_t tasks, const One& one) {
  constexpr std::int64_t kSerialWork = std::int64_t{1}
                                       << 19;  // multiply-adds below which a region (a few us) does not pay
  const std::int64_t work = p.m * p.n * p.k;
  if (p.batch * work < kSerialWork) parallel = false;
  const bool between = parallel && p.batch > 1 && (p.batch >= tasks || work < 16 * kSerialWork);
  run_tasks(between, p.batch, [&](std::int64_t b) { one(batch_item(p, b), parallel && !between); });
}

}  // namespace mixgrad::cpu

#define MIXGRAD_INSTANTIATE_MATMUL(Signature) \
  Signature(double, double) Signature(float, float) Signature(bf16, bf16) Signature(bf16, float)
