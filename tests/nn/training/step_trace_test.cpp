// The Chrome trace of a step, read back: its events nest, and bear the names of operators.
#include "nn/training/diagnosis/step_trace.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "nn/data/token_data.h"
#include "nn/files/strict_json.h"
#include "nn/tokenizers/char_tokenizer.h"
#include "nn/training/optimizers/adamw.h"
#include "ops/operators.h"
#include "tests/support/close.h"
#include "tests/support/model_forms.h"
#include "tests/support/temp_folder.h"

namespace mixgrad::test {
namespace {

struct Span {
  std::string name, kind;
  double begin = 0, end = 0;
  std::size_t micro_batch = 0;  // of a phase
};

struct TracedRun {
  TempFolder folder;
  Decoder model{
      decoder_config("attention,mamba(heads=2,d_state=3)", Positions::rope, Norm::layernorm, Mlp::swiglu, true, true),
      {DType::f32, test_device()}};
  AdamW optimizer{model.parameters(), {}};
  TokenData data = [] {
    const std::string letters = "abcdefghij\n";
    std::string text = letters;
    Rng rng(5);
    for (int i = 0; i < 900; ++i) text += letters[static_cast<std::size_t>(rng.below(letters.size()))];
    return TokenData::from_text(text, char_tokenizer(text, "test"), "test");
  }();
  std::size_t shown = 0;
  nlohmann::json trace;

  TracedRun() {
    model.parameters().initialize(1);
    shown = write_step_trace(folder / "step.json", model, optimizer, data, Rng(3),
                             {.batch = 2, .accumulate = 2, .dropout = {DropoutMask::of(0.1, 1), 0}});
    trace = parse_strict_json(TempFolder::get(folder / "step.json"), "step.json");
  }
};

std::vector<Span> spans_of(const nlohmann::json& trace) {
  std::vector<Span> spans;
  for (const auto& event : trace["traceEvents"]) {
    CHECK(event["ph"] == "X");
    CHECK(event["dur"].get<double>() >= 0);
    const double begin = event["ts"];
    const bool phase = event["cat"] == "phase";
    spans.push_back({event["name"], event["cat"], begin, begin + event["dur"].get<double>(),
                     phase ? event["args"]["micro_batch"].get<std::size_t>() : 0});
  }
  return spans;
}

TEST_CASE("step trace: operators lie side by side within the forward and backward of each micro-batch") {
  const TracedRun run;
  const std::vector<Span> spans = spans_of(run.trace);
  constexpr double kRounding = 2;  // microseconds; events of a GPU have half of one
  std::vector<Span> phases;
  std::size_t operators = 0;
  double last = -kRounding;  // the end of the operator before
  for (const Span& span : spans) {
    CAPTURE(span.name);
    CAPTURE(span.begin);
    if (span.kind == "phase") {
      if (!phases.empty()) CHECK(span.begin >= phases.back().end - kRounding);
      phases.push_back(span);
      last = span.begin;
      continue;
    }
    ++operators;
    REQUIRE(!phases.empty());
    CHECK(span.kind == phases.back().name);
    CHECK(span.begin >= last - kRounding);
    CHECK(span.end <= phases.back().end + kRounding);
    last = span.end;
  }
  CHECK(operators == run.shown);
  REQUIRE(phases.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(phases[i].name == (i % 2 == 0 ? "forward" : "backward"));
    CHECK(phases[i].micro_batch == i / 2);
    CHECK(phases[i].end > phases[i].begin);
  }
}

TEST_CASE("step trace: each operator of the tape is there, forward and in the reverse order backward") {
  const TracedRun run;
  std::vector<std::string> forward;
  std::vector<std::string> backward;
  for (const auto& event : run.trace["traceEvents"]) {
    if (event["cat"] == "phase") continue;
    const std::string name = event["name"];
    CHECK_MESSAGE(find_operator(name) != nullptr, name);
    const bool ahead = event["cat"] == "forward";
    (ahead ? forward : backward).push_back(name);
    const auto& tensors = event["args"][ahead ? "outputs" : "gradients"];
    CHECK(tensors.size() >= 1);
    CHECK(event["args"]["bytes"].get<std::int64_t>() >= 4);
  }
  CHECK(forward.size() == run.shown / 2);
  const auto half = static_cast<std::ptrdiff_t>(forward.size() / 2);
  CHECK(std::vector<std::string>(forward.begin(), forward.begin() + half) ==
        std::vector<std::string>(forward.begin() + half, forward.end()));
  std::vector<std::string> reversed(backward.rbegin(), backward.rend());
  CHECK(reversed == forward);  // both micro-batches are alike
  CHECK(forward.front() == "embedding");
  CHECK(forward[static_cast<std::size_t>(half) - 1] == "linear_cross_entropy");
  const std::set<std::string> names(forward.begin(), forward.end());
  for (const char* name : {"attention", "selective_scan", "causal_conv", "head_linear", "swiglu", "dropout"}) {
    CHECK_MESSAGE(names.count(name) == 1, name);
  }
  const auto& first = run.trace["traceEvents"][1];
  const std::string shape = Shape{2, kContext, kWidth}.str();
  CHECK(first["args"]["outputs"][0] == shape + " f32");
}

TEST_CASE("step trace: an objective that runs layers by themselves is refused") {
  class ByLayer : public Objective {
   public:
    std::string name() const override { return "by-layer"; }
    Passes passes() const override { return Passes::of_each_layer; }
    double accumulate(Decoder& /*model*/, const Tensor& /*tokens*/, const Tensor& /*targets*/, double /*divisor*/,
                      const DropoutMask& /*dropout*/, Gradients& /*gradients*/) const override {
      return 0;
    }
  };
  TracedRun run;
  const ByLayer objective;
  const std::string error = error_text<ValueError>([&] {
    write_step_trace(run.folder / "no.json", run.model, run.optimizer, run.data, Rng(3), {.objective = &objective});
  });
  CHECK_MESSAGE(error.find("trace: a step with the objective by-layer runs each layer") == 0, error);
}

TEST_CASE("step trace: parameters, optimizer and the order of the data stay as they are") {
  TracedRun run;
  const Tensor before = run.model.parameters().flat().clone();
  write_step_trace(run.folder / "again.json", run.model, run.optimizer, run.data, Rng(3), {.batch = 1});
  CHECK(run.model.parameters().flat().equal_bits(before));
  CHECK(run.optimizer.steps() == 0);
  CHECK(error_text<IoError>([&] {
          write_step_trace(run.folder / "none" / "a.json", run.model, run.optimizer, run.data, Rng(3), {});
        }).find("a.json") != std::string::npos);
}

}  // namespace
}  // namespace mixgrad::test
