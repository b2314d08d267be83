// How the tensors of another format make ours: one list for both ways, so that import and export undo each other.
//
//   {.ours = "layers.0.mixer.qkv.weight", .parts = {{"q.weight", {8, 8}}, {"k.weight", {4, 8}}, {"v.weight", {4, 8}}}}
//
// Ours is its parts, each in its arrangement, one below the other along the first axis.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace mixgrad {

enum class Arrangement : std::uint8_t {
  same,          // the same numbers in the same order; the shapes may differ
  transposed,    // theirs is [in,out], ours [out,in]
  rotary_pairs,  // rows of heads, dh each: theirs has the pair i of a head in rows 2i and 2i+1, ours in i and i+dh/2
};

struct TheirTensor {
  std::string name;
  Shape shape;  // as the other format has it
  Arrangement arrangement = Arrangement::same;
  std::int64_t head_dim = 0;  // dh, of rotary_pairs
};

struct TensorRecipe {
  std::string ours;
  Shape shape;  // of ours
  std::vector<TheirTensor> parts;
};
using TensorRecipes = std::vector<TensorRecipe>;

// Builds lists of recipes.
class RecipeList {
 public:
  // One of theirs with the same numbers. `theirs` is its shape, where that is another one.
  void same(const std::string& ours, const std::string& name, const Shape& shape);
  void same(const std::string& ours, const Shape& shape, const std::string& name, const Shape& theirs);
  // A matrix [out,in] of ours that they keep as [in,out].
  void transposed(const std::string& ours, const std::string& name, std::int64_t out, std::int64_t in);
  // Rows of ours from several of theirs, each a matrix [rows,in] or, with in = 0, a vector [rows].
  void stacked(const std::string& ours, std::int64_t in, std::vector<TheirTensor> parts);

  TensorRecipes take() { return std::move(recipes_); }

 private:
  TensorRecipes recipes_;
};

// Ours, in the widest type of its parts; read() gives a part in its own shape, in f64, f32 or bf16, on the CPU.
Tensor assemble(const TensorRecipe& recipe, const std::function<Tensor(const TheirTensor&)>& read);

// The parts again, in the type of `ours`, which is on the CPU.
std::vector<std::pair<std::string, Tensor>> take_apart(const TensorRecipe& recipe, const Tensor& ours);

}  // namespace mixgrad
