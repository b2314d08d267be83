// Numbers that are not finite: found at the operator and tensor where they began, and never in the weights.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>

#include "nn/training/diagnosis/finite.h"
#include "nn/training/optimizers/adamw.h"
#include "nn/training/train_step.h"
#include "ops/attention/attention.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/operators.h"
#include "ops/rms_norm/rms_norm.h"
#include "tests/support/device.h"
#include "tests/support/model_forms.h"
#include "tests/support/op_support.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

// Puts NaN into one output, or into the gradient of one input, of one operator of a tape.
class Planter : public TapeObserver {
 public:
  enum class Where : std::uint8_t { output, gradient };
  Planter(const OpSpec& op, std::size_t entry, Where where, int which)
      : op_(&op), entry_(entry), where_(where), which_(which) {}
  static constexpr std::size_t kFirst = ~std::size_t{0};  // whichever entry is the first of its operator

  bool planted() const { return planted_; }
  void output(const TapeEvent& event, int k, const Tensor& value) override {
    if (where_ == Where::output && k == which_) plant(event, value);
  }
  void gradient(const TapeEvent& event, int input, const Tensor& gradient) override {
    if (where_ == Where::gradient && input == which_) plant(event, gradient);
  }

 private:
  void plant(const TapeEvent& event, const Tensor& tensor) {
    const bool here = entry_ == kFirst ? !planted_ && event.spec == op_ : event.entry == entry_;
    if (!here || tensor.numel() == 0) return;
    tensor.fill(-std::numeric_limits<double>::quiet_NaN());  // texts show no sign
    planted_ = true;
  }

  const OpSpec* op_;
  std::size_t entry_;
  Where where_;
  int which_;
  bool planted_ = false;
};

// Whether NaN or infinity in the q, k or v of one token leaves what does not see the token as it was, bit for bit:
// the outputs before it and, with a window, those behind the window.
std::string attention_leaks(std::int64_t steps, std::int64_t at, const AttentionOptions& options, DType dtype) {
  const std::int64_t width = options.heads * 3;
  std::vector<Tensor> in;
  for (std::uint64_t i = 0; i < 3; ++i) in.push_back(random_tensor({2, steps, width}, i + 1).to(dtype));
  const Tensor want = attention(in[0], in[1], in[2], options);
  for (std::size_t which = 0; which < 3; ++which) {
    for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
      std::vector<Tensor> other = in;
      other[which] = in[which].clone();
      for (std::int64_t c = 0; c < width; ++c) other[which].set(at * width + c, bad);  // of the first sequence
      const Tensor got = attention(other[0], other[1], other[2], options);
      const auto same = [&](std::int64_t row) {
        for (std::int64_t c = 0; c < width; ++c) {
          if (!(got.at(row * width + c) == want.at(row * width + c))) return false;
        }
        return true;
      };
      for (std::int64_t row = 0; row < 2 * steps; ++row) {
        const bool behind = which > 0 && (options.window == 0 || row < at + options.window);
        const bool sees = row == at || (row > at && row < steps && behind);
        if (!sees && !same(row)) return "row " + std::to_string(row) + " changed with input " + std::to_string(which);
      }
      if (same(at)) return "row " + std::to_string(at) + " does not see input " + std::to_string(which);
    }
  }
  return {};
}

TEST_CASE("non-finite: attention is causal for NaN and infinity too") {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    for (const std::int64_t steps : {2, 9, 33, 70, 150, 300}) {
      for (const std::int64_t window : {0, 1, 5, 70}) {
        for (const std::int64_t at : {std::int64_t{0}, std::int64_t{1}, steps / 2, steps - 1}) {
          CAPTURE(dtype_name(dtype));
          CAPTURE(steps);
          CAPTURE(window);
          CAPTURE(at);
          CHECK(attention_leaks(steps, at, {.heads = 2, .kv_heads = 2, .window = window}, dtype) == std::string());
        }
      }
    }
  }
}

TEST_CASE("non-finite: the norm of a row whose squares overflow is NaN, not that of zeros") {
  for (const std::int64_t width : {3, 64, 2000}) {
    Tensor x = random_tensor({2, width}, 1).to(DType::f32);
    for (std::int64_t c = 0; c < width; ++c) x.set(width + c, 1e25 * x.at(width + c));
    const Tensor weight = Tensor::full({width}, DType::f32, 1).to(test_device());
    const Tensor bias = Tensor::zeros({width}, DType::f32, test_device());
    const Tensor there = x.to(test_device());
    for (const Tensor& y : {layer_norm(there, weight, bias, 1e-5), rms_norm(there, weight, 1e-5)}) {
      const Tensor normed = y.to(kCpu);
      for (std::int64_t c = 0; c < width; ++c) {
        CHECK(std::isfinite(normed.at(c)));
        CHECK(std::isnan(normed.at(width + c)));
      }
    }
  }
}

TEST_CASE("non-finite: first_not_finite in every dtype, and of a row view") {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const Tensor tensor = Tensor::zeros({3, 4}, dtype);
    CHECK(first_not_finite(tensor) == -1);
    tensor.set(7, std::numeric_limits<double>::infinity());
    CHECK(first_not_finite(tensor) == 7);
    tensor.set(5, std::nan(""));
    CHECK(first_not_finite(tensor) == 5);
    CHECK(first_not_finite(tensor.column_view(2, 4)) == 3);
    CHECK(first_not_finite(tensor.column_view(0, 1)) == -1);
  }
  CHECK(first_not_finite(Tensor::full({2}, DType::i32, -1)) == -1);
  CHECK(first_not_finite(Tensor::empty({0, 3}, DType::f32)) == -1);
}

TEST_CASE("non-finite: planted at each output and each gradient of every operator, it is named") {
  const ParameterSet none;
  int planted = 0;
  for (const OperatorCases& entry : all_cases().first(kBuiltInOperators)) {
    const OpSpec& spec = *entry.spec;
    std::set<std::pair<int, int>> positions;  // (output or gradient, which) that some case reaches
    for (const OpCase& c : entry.make().cases) {
      for (int position = 0; position < spec.outputs + spec.inputs; ++position) {
        const bool output = position < spec.outputs;
        const int which = output ? position : position - spec.outputs;
        Planter planter(spec, Planter::kFirst, output ? Planter::Where::output : Planter::Where::gradient, which);
        const FiniteWatch watch(none);
        run_with_gradients(c.run, inputs_as(c, DType::f64));
        if (!planter.planted()) continue;
        const std::string& first = watch.first();
        INFO(spec.name << " " << c.note << ": " << first);
        const std::string what = !output            ? "the gradient of input " + std::to_string(which) + " of "
                                 : spec.outputs > 1 ? "output " + std::to_string(which) + " of "
                                                    : std::string("the output of ");
        CHECK(first.starts_with(what + spec.name + " (operator "));
        CHECK(first.ends_with(": element 0 is nan"));
        positions.emplace(output ? 0 : 1, which);
        ++planted;
      }
    }
    INFO(spec.name);
    CHECK(positions.size() ==
          static_cast<std::size_t>(spec.outputs) + static_cast<std::size_t>(spec.differentiable.size()));
  }
  CHECK(planted > 100);
}

TEST_CASE("non-finite: planted anywhere in a model's step, the step is stopped, nothing is written, it is named") {
  int planted = 0;
  int stopped = 0;
  int named = 0;
  const int stride = times(10, 1);
  const std::vector<DecoderForm> forms = decoder_forms();
  for (std::size_t f = 0; f < forms.size(); f += static_cast<std::size_t>(stride)) {
    const std::unique_ptr<Decoder> model = make_decoder(forms[f].config, DType::f32);
    AdamW optimizer(model->parameters(), {});
    TrainStep step(*model, optimizer);
    const Tensor tokens = token_tensor(2, 9, kVocabulary, 1);
    const Tensor targets = token_tensor(2, 9, kVocabulary, 2);
    REQUIRE(std::isfinite(step.run(tokens, targets, 1e-3).gradient_norm));
    std::vector<std::pair<std::size_t, const OpSpec*>> entries;
    {
      Tape tape;
      model->parameters().watch(tape);
      model->loss(tokens, targets);
      for (const TapeEntryReport& row : tape.report()) {
        if (const OpSpec* spec = find_operator(row.op)) entries.emplace_back(entries.size(), spec);
      }
      REQUIRE(entries.size() == tape.entries());
    }
    const Tensor weights = model->parameters().flat().clone();
    const Tensor m = optimizer.first_moment().clone();
    const Tensor v = optimizer.second_moment().clone();
    for (const auto& [entry, spec] : entries) {
      for (int position = 0; position < spec->outputs + spec->inputs; ++position) {
        const bool output = position < spec->outputs;
        const int which = output ? position : position - spec->outputs;
        const auto where = output ? Planter::Where::output : Planter::Where::gradient;
        StepResult result;
        {
          const Planter planter(*spec, entry, where, which);
          result = step.run(tokens, targets, 1e-3);
          if (!planter.planted()) {  // an input without a gradient: it was a step like any other
            model->parameters().flat().copy_from(weights);
            optimizer.restore(m, v, 1);
            continue;
          }
        }
        ++planted;
        const std::string planted_at = std::string(spec->name) + " at " + std::to_string(entry);
        INFO(forms[f].name << ", " << planted_at << (output ? ", output " : ", gradient ") << which);
        const bool finite = std::isfinite(result.loss) && std::isfinite(result.gradient_norm);
        const bool unchanged = model->parameters().flat().equal_bits(weights) &&
                               optimizer.first_moment().equal_bits(m) && optimizer.second_moment().equal_bits(v) &&
                               optimizer.steps() == 1;
        CHECK_FALSE(finite);
        CHECK(unchanged);
        if (!finite && unchanged) ++stopped;
        const Planter again(*spec, entry, where, which);
        const FiniteWatch watch(model->parameters());
        step.accumulate(tokens, targets);
        step.discard();
        const std::string name = std::string(spec->name) + " (operator " + std::to_string(entry + 1) + " of the tape";
        INFO(watch.first());
        CHECK(has(watch.first(), name));
        if (has(watch.first(), name)) ++named;
      }
    }
  }
  CHECK(planted > 300);
  const std::size_t models = (forms.size() - 1) / static_cast<std::size_t>(stride) + 1;
  figure("NaN planted at each output and gradient of a step, " + std::to_string(models) + " models",
         std::to_string(planted) + " plants: " + std::to_string(stopped) +
             " stopped with weights and moments unchanged, " + std::to_string(named) + " named by operator and tensor");
}

TEST_CASE("non-finite: the message names parameters, so the layer") {
  const ModelConfig config = decoder_forms().front().config;
  const std::unique_ptr<Decoder> model = make_decoder(config, DType::f64);
  CHECK(first_parameter_not_finite(model->parameters()).empty());
  Parameter* weight = model->parameters().find("layers.1.norm2.weight");
  REQUIRE(weight != nullptr);
  weight->value.set(3, std::numeric_limits<double>::infinity());
  CHECK(first_parameter_not_finite(model->parameters()) ==
        "parameter layers.1.norm2.weight, f64 [16]: element 3 is inf");
  weight->value.fill(1e200);  // finite, but the squares of what it makes are not
  AdamW optimizer(model->parameters(), {});
  TrainStep step(*model, optimizer);
  const FiniteWatch watch(model->parameters());
  step.accumulate(token_tensor(1, 5, kVocabulary, 1), token_tensor(1, 5, kVocabulary, 2));
  CHECK(watch.first().starts_with("output 1 of add_layer_norm (operator 18 of the tape, with norm.weight, norm.bias)"));
}

}  // namespace
}  // namespace mixgrad::test
