// How causal_conv is timed (ops/cases/bench.h).
#include "ops/cases/cases.h"
#include "ops/causal_conv/causal_conv.h"

namespace mixgrad::test {

OpBench causal_conv_bench() {
  return {.sizes = {{"B", 8, "sequences"},
                    {"T", 1024, "tokens"},
                    {"R", 1, "heads"},
                    {"C", 1536, "channels of a head"},
                    {"W", 4, "taps"}},
          .counted = "2 W + 1 operations an element forward, 6 W backward; x is the first half of the rows of [x;z]",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape x{s["B"], s["T"], s["R"], s["C"]};
            const auto elements = static_cast<double>(x.numel());
            const auto taps = static_cast<double>(s["W"]);
            return {.inputs = {BenchInput::normal(x).in_rows_of(2 * s["C"]),
                               BenchInput::normal({s["R"], s["C"], s["W"]}, 0.5), BenchInput::normal({s["R"], s["C"]})},
                    .run = [](std::span<const Tensor> in) { return std::vector{causal_conv(in[0], in[1], in[2])}; },
                    .forward_operations = (2 * taps + 1) * elements,
                    .backward_operations = 6 * taps * elements,
                    .read_again = {0, 1, 2}};
          }};
}

}  // namespace mixgrad::test
