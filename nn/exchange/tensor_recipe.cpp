#include "nn/exchange/tensor_recipe.h"

#include <cstring>

#include "core/error.h"

namespace mixgrad {
namespace {

// Which row of the other arrangement a row of ours is.
std::int64_t paired_row(std::int64_t row, std::int64_t head_dim) {
  const std::int64_t half = head_dim / 2;
  const std::int64_t in_head = row % head_dim;
  return row - in_head + (in_head < half ? 2 * in_head : 2 * (in_head - half) + 1);
}

enum class Direction : std::uint8_t { to_ours, to_theirs };

// `bytes` bytes at element i of ours and at element j of theirs.
void move(std::byte* ours, std::byte* theirs, std::int64_t i, std::int64_t j, std::size_t bytes, std::size_t element,
          Direction direction) {
  std::byte* a = ours + static_cast<std::size_t>(i) * element;
  std::byte* b = theirs + static_cast<std::size_t>(j) * element;
  direction == Direction::to_ours ? std::memcpy(a, b, bytes) : std::memcpy(b, a, bytes);
}

// Both contiguous and of one type; `ours` is the block of rows that the part makes.
void rearrange(const TheirTensor& part, const Tensor& ours, const Tensor& theirs, Direction direction) {
  const std::size_t element = dtype_bytes(ours.dtype());
  auto* a = static_cast<std::byte*>(ours.raw());
  auto* b = static_cast<std::byte*>(theirs.raw());
  switch (part.arrangement) {
    case Arrangement::same: move(a, b, 0, 0, ours.bytes(), element, direction); return;
    case Arrangement::transposed: {
      const std::int64_t out = ours.dim(0), in = ours.dim(1);
      for (std::int64_t o = 0; o < out; ++o) {
        for (std::int64_t i = 0; i < in; ++i) move(a, b, o * in + i, i * out + o, element, element, direction);
      }
      return;
    }
    case Arrangement::rotary_pairs: {
      const std::int64_t rows = ours.dim(0), width = ours.numel() / rows;
      const std::size_t bytes = static_cast<std::size_t>(width) * element;
      for (std::int64_t r = 0; r < rows; ++r) {
        move(a, b, r * width, paired_row(r, part.head_dim) * width, bytes, element, direction);
      }
      return;
    }
  }
}

DType wider(DType a, DType b) { return dtype_bytes(a) >= dtype_bytes(b) ? a : b; }

std::int64_t rows_of(const TensorRecipe& recipe, const TheirTensor& part) {
  return part.shape.numel() / (recipe.shape.numel() / recipe.shape[0]);
}

}  // namespace

void RecipeList::same(const std::string& ours, const std::string& name, const Shape& shape) {
  same(ours, shape, name, shape);
}

void RecipeList::same(const std::string& ours, const Shape& shape, const std::string& name, const Shape& theirs) {
  recipes_.push_back({ours, shape, {{.name = name, .shape = theirs}}});
}

void RecipeList::transposed(const std::string& ours, const std::string& name, std::int64_t out, std::int64_t in) {
  recipes_.push_back({ours, {out, in}, {{.name = name, .shape = {in, out}, .arrangement = Arrangement::transposed}}});
}

void RecipeList::stacked(const std::string& ours, std::int64_t in, std::vector<TheirTensor> parts) {
  std::int64_t rows = 0;
  for (const TheirTensor& part : parts) rows += part.shape[0];
  recipes_.push_back({ours, in == 0 ? Shape{rows} : Shape{rows, in}, std::move(parts)});
}

Tensor assemble(const TensorRecipe& recipe, const std::function<Tensor(const TheirTensor&)>& read) {
  std::vector<Tensor> parts;
  DType dtype = DType::bf16;
  for (const TheirTensor& part : recipe.parts) {
    parts.push_back(read(part));
    MIXGRAD_ASSERT(parts.back().shape() == part.shape, "a part is read in the shape that its recipe gives");
    dtype = parts.size() == 1 ? parts.back().dtype() : wider(dtype, parts.back().dtype());
  }
  if (parts.size() == 1 && recipe.parts[0].arrangement == Arrangement::same) return parts[0].reshape(recipe.shape);
  const Tensor ours = Tensor::empty(recipe.shape, dtype);
  std::int64_t row = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::int64_t rows = rows_of(recipe, recipe.parts[i]);
    rearrange(recipe.parts[i], ours.slice(row, row + rows), parts[i].to(dtype), Direction::to_ours);
    row += rows;
  }
  MIXGRAD_ASSERT(row == recipe.shape[0], "the parts make the whole tensor");
  return ours;
}

std::vector<std::pair<std::string, Tensor>> take_apart(const TensorRecipe& recipe, const Tensor& ours) {
  std::vector<std::pair<std::string, Tensor>> parts;
  std::int64_t row = 0;
  for (const TheirTensor& part : recipe.parts) {
    const std::int64_t rows = rows_of(recipe, part);
    const Tensor theirs = Tensor::empty(part.shape, ours.dtype());
    rearrange(part, ours.slice(row, row + rows), theirs, Direction::to_theirs);
    parts.emplace_back(part.name, theirs);
    row += rows;
  }
  return parts;
}

}  // namespace mixgrad
