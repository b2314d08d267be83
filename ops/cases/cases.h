// The cases of an operator: written once beside it, used by the forward test, the gradient check, the CPU/CUDA
// parity test, the error test and the benchmark. Each name in op_list.def has a function `OpCases NAME_cases()`.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "autograd/op_spec.h"
#include "core/tensor.h"

namespace mixgrad::test {

using Function = std::function<std::vector<Tensor>(std::span<const Tensor>)>;

struct OpCase {
  std::string note;              // what is special: "T=1", "k and v shared by 2 heads"
  std::vector<Tensor> inputs;    // f64 (the check perturbs each of them) and i32 (left alone)
  Function run;                  // calls the operator; inputs may come as f64, f32 or bf16
  Function oracle;               // the same outputs from the formula, in plain loops over f64
  unsigned precise = 0;          // bit i: input i is f32, not bf16, where the others are bf16
  unsigned precise_outputs = 0;  // bit k: output k then is f32
};

struct ErrorCase {
  std::string note;
  std::function<void()> call;  // must throw a mixgrad::Error ...
  std::string message;         // ... with exactly this text
};

struct OpCases {
  std::vector<OpCase> cases;
  std::vector<ErrorCase> errors;
};

#define OP(name, folder) OpCases name##_cases();
#include "ops/op_list.def"
#undef OP

struct NamedCases {
  OpId id;
  OpCases (*make)();
};
std::span<const NamedCases> all_cases();  // in the order of the list

// Reproducible inputs: normal values of standard deviation 1; `away` keeps |x| above 0.05 (kinks at zero).
Tensor random_tensor(const Shape& shape, std::uint64_t seed);
Tensor random_away_from_zero(const Shape& shape, std::uint64_t seed);
Tensor random_tokens(const Shape& shape, std::int32_t vocabulary, std::uint64_t seed);

}  // namespace mixgrad::test
