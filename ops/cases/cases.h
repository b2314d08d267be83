// The cases of an operator: written once beside it and used by everything that checks it. They need no test framework,
// so a program of your own can check its operators with them (operator_laws.h).
//
//   OpCases square_cases() {
//     OpCases all;
//     all.cases = {{"odd sizes", {random_tensor({3, 5}, 1)},
//                   [](std::span<const Tensor> in) { return std::vector{square(in[0])}; },
//                   [](std::span<const Tensor> in) { return std::vector{squared_in_a_loop(in[0])}; }}};
//     all.errors = {{"i32", [] { square(random_tokens({3}, 5, 1)); }, "square: x must be f64, f32 or bf16, got i32"}};
//     return all;
//   }
//   const OperatorCases square_with_cases{&square_spec, square_cases};
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/op_spec.h"
#include "core/tensor.h"
#include "ops/cases/bench.h"
#include "ops/support/block_size.h"

namespace mixgrad::test {

using Function = std::function<std::vector<Tensor>(std::span<const Tensor>)>;

struct OpCase {
  std::string note;            // what is special: "T=1", "k and v shared by 2 heads"
  std::vector<Tensor> inputs;  // f64 (the check perturbs each of them) and i32 (left alone); undefined: not given
  Function run;                // calls the operator; inputs may come as f64, f32 or bf16
  Function oracle;             // the same outputs from the formula, in plain loops over f64
  // The role of each input of this case, where they are not the inputs of the operator one by one: columns of a packed
  // tensor, one tensor given twice. Empty: input i is input i of the operator and has its role.
  std::vector<InputRole> roles = {};
  IndexSet f32_outputs = {};  // the outputs that are f32 where the others are bf16
  bool one_by_one = false;    // filled in by OperatorCases::make: `roles` came from the operator
};

struct ErrorCase {
  std::string note;
  std::function<void()> call;  // must throw a mixgrad::Error ...
  std::string message;         // ... with exactly this text
};

// Computes one piece of a sequence, which begins at token `position`, and keeps what the next piece needs.
using PieceFunction = std::function<Tensor(std::span<const Tensor> piece, std::int64_t position)>;

// The form of an operator that is given a sequence in pieces: whatever the pieces are, together they must give what the
// operator gives for the whole. Checked over 10,000 tokens: choose inputs whose effect lasts (slow decay, a mean that
// is not zero), so that a state that is kept too coarsely drifts away.
struct CachedCase {
  std::string note;
  std::function<std::vector<Tensor>(std::int64_t tokens)> inputs;  // as in OpCase, for a sequence of this length
  IndexSet sequences;  // the inputs [B,T rows,...], cut along their second axis; the others are given whole
  Function whole;      // the operator; its first output is [B,T,...]
  // A fresh state for such inputs, in the closure of the function that it returns.
  std::function<PieceFunction(std::span<const Tensor> inputs, std::int64_t tokens)> start;
  std::int64_t longest_piece = 0;     // of its pieces; 0: any. A ring of the last tokens takes one at a time
  std::vector<InputRole> roles = {};  // as in OpCase
};

struct OpCases {
  std::vector<OpCase> cases;
  std::vector<ErrorCase> errors;
  std::vector<CachedCase> cached = {};          // required when the spec names a cached form
  std::span<const BlockSize> block_sizes = {};  // of all kernels of the operator, on every device
  // A case whose `axis` has this size. From it come cases with one less than each block, as many and one more.
  std::function<OpCase(std::string_view axis, std::int64_t size)> with_size = {};
};

// An operator, its cases, and the sizes at which it is timed.
struct OperatorCases {
  const OpSpec* spec = nullptr;
  OpCases (*cases)() = nullptr;
  OpBench (*bench)() =
      nullptr;  // without it the operator can be checked, and is refused by name where it is to be timed

  // The cases with the role of every input filled in, and the cases that cross the block sizes appended. ValueError,
  // naming the part, when the spec or the cases lack one.
  OpCases make() const;
};

// Of a built-in operator both are required: a missing one is a link error.
#define OP(name, folder)  \
  OpCases name##_cases(); \
  OpBench name##_bench();
#include "ops/op_list.def"
#undef OP

inline constexpr std::size_t kBuiltInOperators = 0
#define OP(name, folder) +1
#include "ops/op_list.def"
#undef OP
    ;

// The built-in operators in the order of the list, then the registered ones. Valid until the next registration.
std::span<const OperatorCases> all_cases();

// The cases of a built-in or registered operator. ValueError when it has none.
OpCases cases_of(const OpSpec& spec);

// Adds an operator with its cases: all_cases() and operators() then name it too. ValueError when a part is missing.
void register_operator(const OperatorCases& entry);

// For with_size: ValueError, an axis of which no case is made.
[[noreturn]] void raise_unknown_axis(std::string_view axis);

// Reproducible inputs: normal values of standard deviation 1; `away` keeps |x| above 0.05 (kinks at zero).
Tensor random_tensor(const Shape& shape, std::uint64_t seed);
Tensor random_away_from_zero(const Shape& shape, std::uint64_t seed);
Tensor random_tokens(const Shape& shape, std::int32_t vocabulary, std::uint64_t seed);

}  // namespace mixgrad::test
