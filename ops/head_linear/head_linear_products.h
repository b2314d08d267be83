// The products of head_linear, for both devices: those of a linear layer, a batch of them. The operands of head h lie
// h I (or h O) columns into the rows of x (or y), or in rows of their own.
#pragma once

#include "ops/linear/linear_products.h"

namespace mixgrad {

// The matrices of all heads: that of head 0, and how far they lie apart.
template <class T>
struct HeadMatrices {
  Rows<T> first;
  std::int64_t stride;
};

// Of a tensor of H heads, [..., H W] or [B,T,H,W].
template <class T>
HeadMatrices<T> head_matrices(const Tensor& tensor, std::int64_t heads, std::int64_t width) {
  const Rows<T> all(tensor);
  if (all.width != width) return {{all.data, all.count, width, all.stride}, width};
  return {{all.data, all.count / heads, width, all.stride * heads}, all.stride};  // with one head both are the same
}

// Of a weight [H,O,I] or its gradient.
template <class T>
HeadMatrices<T> weight_matrices(const Tensor& weight) {
  return {{weight.data<T>(), weight.dim(1), weight.dim(2), weight.row_stride()}, weight.dim(1) * weight.row_stride()};
}

template <class T>
Product<T, T> head_linear_product(const Tensor& x, const Tensor& weight, const Tensor& bias, bool add,
                                  const Tensor& y) {
  const HeadMatrices<T> from = head_matrices<T>(x, weight.dim(0), weight.dim(2));
  const HeadMatrices<T> to = head_matrices<T>(y, weight.dim(0), weight.dim(1));
  const HeadMatrices<T> w = weight_matrices<T>(weight);
  Product<T, T> product = linear_product(from.first, w.first, to.first, add);
  product.bias = bias.defined() ? bias.data<T>() : nullptr;
  product.batch = weight.dim(0);
  product.stride_a = from.stride;
  product.stride_b = w.stride;
  product.stride_c = to.stride;
  product.stride_bias = weight.dim(1);
  return product;
}

template <class T>
Product<T, T> head_linear_dx_product(const Tensor& weight, const Tensor& dy, const Tensor& dx, bool add) {
  const HeadMatrices<T> up = head_matrices<T>(dy, weight.dim(0), weight.dim(1));
  const HeadMatrices<T> to = head_matrices<T>(dx, weight.dim(0), weight.dim(2));
  const HeadMatrices<T> w = weight_matrices<T>(weight);
  Product<T, T> product = linear_dx_product(up.first, w.first, to.first, add);
  product.batch = weight.dim(0);
  product.stride_a = up.stride;
  product.stride_b = w.stride;
  product.stride_c = to.stride;
  return product;
}

template <class T>
Product<T, acc_t<T>> head_linear_dweight_product(const Tensor& x, const Tensor& dy, const Tensor& dweight, bool add) {
  const HeadMatrices<T> from = head_matrices<T>(x, dweight.dim(0), dweight.dim(2));
  const HeadMatrices<T> up = head_matrices<T>(dy, dweight.dim(0), dweight.dim(1));
  const HeadMatrices<acc_t<T>> to = weight_matrices<acc_t<T>>(dweight);
  Product<T, acc_t<T>> product = linear_dweight_product(up.first, from.first, to.first, add);
  product.batch = dweight.dim(0);
  product.stride_a = up.stride;
  product.stride_b = from.stride;
  product.stride_c = to.stride;
  return product;
}

}  // namespace mixgrad
