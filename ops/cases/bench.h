// How an operator is timed: its sizes with their defaults, inputs of such sizes, and its arithmetic, written once
// beside its cases. `mixgrad bench op` and time_operator (operator_timing.h) read it.
//
//   OpBench square_bench() {
//     return {.sizes = {{"B", 8, "sequences"}, {"D", 768, "channels"}},
//             .counted = "1 operation an element forward, 2 backward",
//             .make = [](const BenchSizes& s) -> BenchCall {
//               const auto elements = static_cast<double>(s["B"] * s["D"]);
//               return {.inputs = {BenchInput::normal({s["B"], s["D"]})},
//                       .run = [](std::span<const Tensor> in) { return std::vector{square(in[0])}; },
//                       .forward_operations = elements,
//                       .backward_operations = 2 * elements,
//                       .read_again = {0}};
//             }};
//   }
//
// Operations are those of the formula: an addition, a multiplication, an exponential or another function of one number
// is one. Bytes are those that no implementation can do without: each input is read once and each output written once;
// backward reads the gradient of each output and the inputs and outputs that the formula of the gradient needs, and
// writes each gradient once. What an implementation saves or computes again beyond that is not counted.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/op_spec.h"
#include "core/tensor.h"

namespace mixgrad::test {

struct BenchSize {
  std::string name;        // as it is given: "T"
  std::int64_t value = 1;  // the default
  std::string what;        // "tokens"
  std::int64_t least = 1;
};

// The sizes of an operator with their values.
class BenchSizes {
 public:
  BenchSizes(std::string op, std::vector<BenchSize> sizes) : op_(std::move(op)), sizes_(std::move(sizes)) {}

  std::int64_t operator[](std::string_view name) const;
  // ValueError, naming those there are, for a name that is not among them and for a value below the least.
  void set(std::string_view name, std::int64_t value);
  const std::vector<BenchSize>& all() const { return sizes_; }
  std::string text() const;  // "B=8 T=1024"

 private:
  std::string op_;
  std::vector<BenchSize> sizes_;
};

// One input of the operator. Default-constructed: an optional input that is not given.
struct BenchInput {
  enum class Values : std::uint8_t { absent, normal, tokens };

  Values values = Values::absent;
  Shape shape = {};
  double mean = 0, deviation = 1;  // of normal values
  std::int32_t vocabulary = 0;     // tokens lie below it
  std::int64_t row = 0;            // above the columns: a row view of a tensor with rows of so many elements
  std::int64_t read = -1;          // elements that forward reads; -1: all
  std::int64_t written = -1;       // elements of its gradient that backward writes; -1: all

  static BenchInput normal(const Shape& shape, double deviation = 1, double mean = 0);
  static BenchInput tokens(const Shape& shape, std::int64_t vocabulary);  // i32, each below `vocabulary`
  BenchInput in_rows_of(std::int64_t elements) const;
};

// A call of the operator at given sizes.
struct BenchCall {
  std::vector<BenchInput> inputs;  // one for each input of the operator, with the roles of its spec
  std::function<std::vector<Tensor>(std::span<const Tensor>)> run;
  double forward_operations = 0, backward_operations = 0;
  IndexSet read_again = {};          // the inputs that the gradient's formula needs
  IndexSet outputs_read_again = {};  // and the outputs
  bool forward_is_view = false;      // forward reads and writes nothing: its output is the memory of its input
  bool backward_is_view = false;     // backward hands the gradient on without a copy
};

struct OpBench {
  std::vector<BenchSize> sizes;
  std::string counted;  // the operations, as a sentence without an end
  std::function<BenchCall(const BenchSizes& sizes)> make;
  std::string remark = {};  // what a reader of the figures must know
};

}  // namespace mixgrad::test
