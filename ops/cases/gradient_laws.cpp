#include <algorithm>

#include "core/rng.h"
#include "ops/cases/close.h"
#include "ops/cases/law_support.h"
#include "ops/elementwise/elementwise.h"

namespace mixgrad::test {
namespace {

// x + 0: the same values, computed by a recorded operator.
Tensor same_value(const Tensor& x) { return add(x, Tensor::zeros(x.shape(), x.dtype(), x.device())); }

IndexSet first_indices(std::size_t count) {
  IndexSet all;
  for (std::size_t i = 0; i < count; ++i) all.insert(static_cast<int>(i));
  return all;
}

std::string name_of(const GradientRow& row) {
  return "gradient of input " + std::to_string(row.input) + (row.output == "all" ? "" : " from " + row.output);
}

// Every row passes, and no float input was left out.
void check_rows(LawCheck& check, const OpCase& c, const std::vector<GradientRow>& rows) {
  const auto floats = std::count_if(c.inputs.begin(), c.inputs.end(), takes_gradient);
  const auto of_all = std::count_if(rows.begin(), rows.end(), [](const GradientRow& r) { return r.output == "all"; });
  check.holds(of_all == floats, std::to_string(of_all) + " gradients were checked, the case has " +
                                    std::to_string(floats) + " float inputs");
  for (const GradientRow& row : rows) check.empty(row.detail, name_of(row));
}

void check_rounded_gradients(const OperatorUnderCheck& subject, LawReport& report, DType dtype, const OpCase& c,
                             IndexSet leaves) {
  LawCheck check(report);
  check.about(c.note + ", " + dtype_name(dtype));
  check_rows(check, c, gradient_rows(c, of_intermediates(c.run, leaves), dtype, subject.options.device));
}

}  // namespace

IndexSet parameters_of(const OpCase& c) {
  IndexSet parameters;
  for (std::size_t i = 0; i < c.roles.size(); ++i) {
    if (is_parameter(c.roles[i])) parameters.insert(static_cast<int>(i));
  }
  return parameters;
}

Function of_intermediates(const Function& run, IndexSet leaves) {
  return [=](std::span<const Tensor> in) {
    std::vector<Tensor> values(in.begin(), in.end());
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (takes_gradient(values[i]) && !leaves.contains(static_cast<int>(i))) values[i] = same_value(values[i]);
    }
    return run(values);
  };
}

void check_differences(const OperatorUnderCheck& subject, LawReport& report) {
  LawCheck check(report);
  const ThreadScope one_thread(1);  // many small calls; that threads change no bit is another law
  IndexSet seen;                    // inputs of the operator that had a gradient that is not zero
  for (const OpCase& c : subject.cases.cases) {
    if (subject.options.brief && seen == subject.spec.differentiable) break;
    check.about(c.note);
    const std::vector<GradientRow> rows = gradient_rows(c, DType::f64, subject.options.device);
    check_rows(check, c, rows);
    for (const GradientRow& row : rows) {
      if (row.output != "all") continue;
      check.holds(row.sabotage_caught == !row.vacuous, name_of(row) + ": sabotage was not caught");
      if (!c.one_by_one) continue;
      const auto input = static_cast<int>(row.input);
      check.holds(subject.spec.differentiable.contains(input), name_of(row) + ": the spec says that there is none");
      if (!row.vacuous) seen.insert(input);
    }
  }
  check.about("all cases");
  check.holds(seen == subject.spec.differentiable,
              "a differentiable input of the operator has no case with a gradient that is not zero");
}

void check_f32_gradients(const OperatorUnderCheck& subject, LawReport& report) {
  for (const OpCase& c : subject.cases.cases) {
    check_rounded_gradients(subject, report, DType::f32, c, first_indices(c.inputs.size()));
  }
}

void check_bf16_gradients(const OperatorUnderCheck& subject, LawReport& report) {
  for (const OpCase& c : subject.cases.cases) {
    const IndexSet parameters = parameters_of(c);
    const IndexSet all = first_indices(c.inputs.size());
    if (parameters.size() > 0 && !(parameters == all)) {
      check_rounded_gradients(subject, report, DType::bf16, c, parameters);
    }
    check_rounded_gradients(subject, report, DType::bf16, c, all);
    check_rounded_gradients(subject, report, DType::bf16, c, {});
  }
}

namespace {

enum class OtherUse { before, after };

// `run` on values in the middle of a tape that are used a second time, before or after it. The operator must then add
// to what is there, or what it has written (or handed on) is added to.
Function with_other_use(const Function& run, OtherUse other) {
  return [=](std::span<const Tensor> in) {
    std::vector<Tensor> values(in.begin(), in.end());
    std::vector<Tensor> seconds;
    const auto use_again = [&] {
      for (const Tensor& value : values) {
        if (takes_gradient(value)) seconds.push_back(same_value(value));
      }
    };
    for (Tensor& value : values) {
      if (takes_gradient(value)) value = same_value(value);
    }
    if (other == OtherUse::before) use_again();
    std::vector<Tensor> outputs = run(values);
    if (other == OtherUse::after) use_again();
    outputs.insert(outputs.end(), seconds.begin(), seconds.end());
    return outputs;
  };
}

// cotangent + gradient, where the cotangent is the one that run_with_gradients draws with this seed.
Tensor plus_cotangent(const Tensor& gradient, std::uint64_t seed) {
  const Tensor cotangent = Tensor::empty(gradient.shape(), DType::f64);
  Rng rng(seed);
  rng.fill_normal(cotangent, 0, 1);
  const Tensor sum = cotangent.to(DType::bf16).to(DType::f64);
  for (std::int64_t i = 0; i < sum.numel(); ++i) sum.set(i, sum.at(i) + gradient.at(i));
  return sum;
}

}  // namespace

void check_accumulation(const OperatorUnderCheck& subject, LawReport& report) {
  LawCheck check(report);
  for (const OpCase& c : subject.cases.cases) {
    check.about(c.note);
    const Results alone = run_with_gradients(c.run, c.inputs, subject.options.device);
    for (const OtherUse other : {OtherUse::before, OtherUse::after}) {
      const Results both = run_with_gradients(with_other_use(c.run, other), c.inputs, subject.options.device);
      for (std::size_t i = 0; i < alone.gradients.size(); ++i) {
        const Tensor want = plus_cotangent(alone.gradients[i], kFirstCotangent + alone.outputs.size() + i);
        check.empty(not_close(both.gradients[i], want, 1e-12),
                    "gradient " + std::to_string(i) + (other == OtherUse::before ? ", used before" : ", used after"));
      }
    }
  }
}

}  // namespace mixgrad::test
