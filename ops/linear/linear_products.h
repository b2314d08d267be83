// The three products of a linear layer y = x W^T, for both devices: x [rows,I], W [O,I], y [rows,O].
#pragma once

#include "core/rows.h"
#include "ops/matmul/product.h"

namespace mixgrad {

// y = x W^T, or with `add` y += x W^T
template <class In, class Out>
Product<In, Out> linear_product(const Rows<In>& x, const Rows<In>& weight, const Rows<Out>& y, bool add = false) {
  Product<In, Out> product{};
  product.m = x.count;
  product.n = weight.count;
  product.k = weight.width;
  product.a = x.data;
  product.lda = x.stride;
  product.b = weight.data;
  product.ldb = weight.stride;
  product.transpose_b = true;
  product.c = y.data;
  product.ldc = y.stride;
  product.accumulate = add;
  return product;
}

// dx (+)= dy W
template <class T>
Product<T, T> linear_dx_product(const Rows<T>& dy, const Rows<T>& weight, const Rows<T>& dx, bool add) {
  Product<T, T> product{};
  product.m = dy.count;
  product.n = weight.width;
  product.k = weight.count;
  product.a = dy.data;
  product.lda = dy.stride;
  product.b = weight.data;
  product.ldb = weight.stride;
  product.c = dx.data;
  product.ldc = dx.stride;
  product.accumulate = add;
  return product;
}

// dW (+)= dy^T x, in the accumulation type
template <class T>
Product<T, acc_t<T>> linear_dweight_product(const Rows<T>& dy, const Rows<T>& x, const Rows<acc_t<T>>& dweight,
                                            bool add) {
  Product<T, acc_t<T>> product{};
  product.m = dy.width;
  product.n = x.width;
  product.k = x.count;
  product.a = dy.data;
  product.lda = dy.stride;
  product.transpose_a = true;
  product.b = x.data;
  product.ldb = x.stride;
  product.c = dweight.data;
  product.ldc = dweight.stride;
  product.accumulate = add;
  return product;
}

}  // namespace mixgrad
