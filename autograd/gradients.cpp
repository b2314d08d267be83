#include "autograd/gradients.h"

#include <algorithm>
#include <cstddef>

#include "core/build.h"
#include "core/error.h"

namespace mixgrad {

namespace {
constexpr std::int64_t kAlignElements = 16;  // 64 bytes in f32, 128 in f64
}

FlatLayout::FlatLayout(std::span<const Shape> leaf_shapes) : shapes(leaf_shapes.begin(), leaf_shapes.end()) {
  offsets.reserve(shapes.size());
  for (const Shape& shape : shapes) {
    offsets.push_back(total);
    total += (shape.numel() + kAlignElements - 1) / kAlignElements * kAlignElements;
  }
}

Tensor FlatLayout::view(const Tensor& flat, std::size_t i) const {
  return flat.slice(offsets[i], offsets[i] + shapes[i].numel()).reshape(shapes[i]);
}

Gradients::Gradients(std::span<const Shape> shapes, DType dtype, Device device) : arrived_(shapes.size(), 0) {
  const FlatLayout layout(shapes);
  flat_ = Tensor::zeros({layout.total}, dtype, device);
  flat_.set_role("gradients");
  views_.reserve(shapes.size());
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    views_.push_back(layout.view(flat_, i));
    if constexpr (build::checked) views_.back().fill(__builtin_nan(""));
  }
}

const Tensor& Gradients::of(std::size_t i) const {
  if (i >= arrived_.size()) raise<GradError>("gradients: there are ", arrived_.size(), " leaves, got index ", i);
  if (arrived_[i] == 0) {
    raise<GradError>("gradients: no gradient has arrived at leaf ", i, " ", views_[i].shape(),
                     "; was it used in what the loss depends on?");
  }
  return views_[i];
}

void Gradients::clear() { std::fill(arrived_.begin(), arrived_.end(), std::uint8_t{0}); }
void Gradients::mark_all_arrived() { std::fill(arrived_.begin(), arrived_.end(), std::uint8_t{1}); }
void Gradients::mark_arrived_as(const Gradients& other) { arrived_ = other.arrived_; }

std::vector<std::pair<std::int64_t, std::int64_t>> Gradients::arrived_ranges() const {
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges;
  const auto begin_of = [&](std::size_t i) {
    const auto* here = static_cast<const std::byte*>(views_[i].raw());
    const auto bytes = static_cast<std::size_t>(here - static_cast<const std::byte*>(flat_.raw()));
    return static_cast<std::int64_t>(bytes / dtype_bytes(flat_.dtype()));
  };
  for (std::size_t i = 0; i < views_.size(); ++i) {
    if (arrived_[i] == 0) continue;
    const std::int64_t end = i + 1 < views_.size() ? begin_of(i + 1) : flat_.numel();  // with the gap behind it
    if (!ranges.empty() && ranges.back().second == begin_of(i)) {
      ranges.back().second = end;
    } else {
      ranges.emplace_back(begin_of(i), end);
    }
  }
  return ranges;
}

}  // namespace mixgrad
