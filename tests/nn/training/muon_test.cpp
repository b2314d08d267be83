// Muon against its formula in plain loops, and which parameters it moves as matrices.
#include "nn/training/optimizers/muon.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "nn/model/decoder.h"
#include "nn/training/optimizers/registry.h"
#include "ops/cases/cases.h"
#include "tests/support/close.h"
#include "tests/support/device.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {
namespace {

using Matrix = std::vector<std::vector<double>>;

Matrix product(const Matrix& a, const Matrix& b) {
  Matrix c(a.size(), std::vector<double>(b.front().size()));
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = 0; j < b.front().size(); ++j) {
      for (std::size_t k = 0; k < b.size(); ++k) c[i][j] += a[i][k] * b[k][j];
    }
  }
  return c;
}

Matrix transposed(const Matrix& a) {
  Matrix t(a.front().size(), std::vector<double>(a.size()));
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = 0; j < a.front().size(); ++j) t[j][i] = a[i][j];
  }
  return t;
}

Matrix orthogonalized(Matrix x) {
  double squares = 0;
  for (const auto& row : x) {
    for (const double value : row) squares += value * value;
  }
  for (auto& row : x) {
    for (double& value : row) value /= std::sqrt(squares) + 1e-7;
  }
  for (int step = 0; step < 5; ++step) {
    const Matrix gram = product(x, transposed(x));
    const Matrix square = product(gram, gram);
    Matrix mixed = gram;
    for (std::size_t i = 0; i < gram.size(); ++i) {
      for (std::size_t j = 0; j < gram.size(); ++j) mixed[i][j] = -4.7750 * gram[i][j] + 2.0315 * square[i][j];
    }
    const Matrix more = product(mixed, x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      for (std::size_t j = 0; j < x.front().size(); ++j) x[i][j] = 3.4445 * x[i][j] + more[i][j];
    }
  }
  return x;
}

// A matrix, one of more rows than columns, several of each kind, and what goes by AdamW.
struct SomeParameters {
  ParameterSet set;
  explicit SomeParameters(DType dtype, Device device = kCpu) {
    set.add("embed.weight", {7, 4}, Init::normal(0.5), true);
    set.add("layers.0.mixer.qkv.weight", {4, 6}, Init::normal(0.5), true);
    set.add("layers.0.mixer.up.weight", {2, 9, 5}, Init::normal(0.5), true);
    set.add("layers.0.mixer.conv.weight", {2, 3, 4}, Init::normal(0.5), true);
    set.add("layers.0.mixer.A_log", {2, 3, 4}, Init::log_count(), false);
    set.add("layers.0.mixer.bias", {5}, Init::constant(1), false);
    set.allocate(dtype, device);
    set.initialize(3);
  }
  Gradients gradients(std::uint64_t seed) const {
    Gradients g = set.new_gradients();
    g.mark_all_arrived();
    for (std::size_t i = 0; i < set.size(); ++i) {
      g.of(i).copy_from(random_tensor(set[i].shape, seed + i).to(g.flat().dtype()).to(set.device()));
    }
    return g;
  }
};

// One matrix after `steps` steps by the formula; the gradients are scaled by `factors`.
std::vector<double> by_formula(const SomeParameters& start, std::size_t parameter, const std::vector<double>& factors,
                               const MuonOptions& options) {
  const Tensor before = start.set[parameter].master.to(kCpu);
  const Shape& shape = before.shape();
  const auto outputs = static_cast<std::size_t>(shape[shape.rank() - 2]);
  const auto inputs = static_cast<std::size_t>(shape[shape.rank() - 1]);
  std::vector<double> values;
  for (std::int64_t i = 0; i < before.numel(); ++i) values.push_back(before.at(i));
  std::vector<double> momentum(values.size());
  for (std::size_t t = 0; t < factors.size(); ++t) {
    const Gradients given = start.gradients(10 * t);
    const Tensor g = given.of(parameter).to(kCpu);
    const double rate = options.muon_lr * (0.5 + static_cast<double>(t)) / 2;
    for (std::size_t first = 0; first < values.size(); first += outputs * inputs) {
      Matrix u(outputs, std::vector<double>(inputs));
      for (std::size_t j = 0; j < outputs * inputs; ++j) {
        const double gradient = g.at(static_cast<std::int64_t>(first + j)) * factors[t];
        momentum[first + j] = options.momentum * momentum[first + j] + gradient;
        u[j / inputs][j % inputs] = gradient + options.momentum * momentum[first + j];
      }
      const Matrix x = outputs > inputs ? transposed(orthogonalized(transposed(u))) : orthogonalized(u);
      const double scale = std::sqrt(std::max(1.0, static_cast<double>(outputs) / static_cast<double>(inputs)));
      for (std::size_t j = 0; j < outputs * inputs; ++j) {
        double& p = values[first + j];
        p = p * (1 - rate * options.weight_decay) - rate * scale * x[j / inputs][j % inputs];
      }
    }
  }
  return values;
}

TEST_CASE("muon: three steps of matrices by the formula in plain loops, everything else by AdamW") {
  const MuonOptions options{.muon_lr = 0.05, .momentum = 0.9, .weight_decay = 0.2, .clip = 1.5, .learning_rate = 2};
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    CAPTURE(std::string(dtype_name(dtype)));
    const SomeParameters start(dtype, test_device());
    SomeParameters moved(dtype, test_device());
    SomeParameters by_adamw(dtype, test_device());
    Muon muon(moved.set, options);
    AdamW adamw(by_adamw.set, {.weight_decay = options.weight_decay, .clip = options.clip});
    std::vector<double> factors;
    for (std::uint64_t t = 0; t < 3; ++t) {
      const double learning_rate = 0.5 + static_cast<double>(t);  // of a schedule that starts at 2
      const double norm = muon.step(moved.gradients(10 * t), learning_rate);
      CHECK(norm == adamw.step(by_adamw.gradients(10 * t), learning_rate));
      factors.push_back(std::min(1.0, options.clip / (norm + 1e-6)));
      CHECK(factors.back() < 1);
    }
    for (std::size_t i = 0; i < moved.set.size(); ++i) {
      CAPTURE(moved.set[i].name);
      const Tensor got = moved.set[i].master.to(kCpu);
      if (!is_hidden_matrix(moved.set[i])) {
        CHECK(got.equal_bits(by_adamw.set[i].master.to(kCpu)));
        continue;
      }
      const std::vector<double> want = by_formula(start, i, factors, options);
      const double tolerance = dtype == DType::f64 ? 1e-12 : 2e-5;
      double worst = 0;
      for (std::size_t j = 0; j < want.size(); ++j) {
        worst = std::max(worst, std::abs(got.at(static_cast<std::int64_t>(j)) - want[j]));
      }
      CHECK(worst < tolerance);
      if (dtype == DType::bf16) CHECK(moved.set[i].value.to(kCpu).equal_bits(got.to(DType::bf16)));
    }
  }
}

TEST_CASE("muon: a frozen matrix stays, and a matrix of zero gradients moves by its decay alone") {
  SomeParameters p(DType::f64);
  p.set[1].trainable = false;
  const Tensor before = p.set.master().clone();
  Muon muon(p.set, {.weight_decay = 0, .learning_rate = 1e-3});
  Gradients zero = p.set.new_gradients();
  zero.mark_all_arrived();
  zero.flat().fill(0);
  CHECK(muon.step(zero, 1e-3) == 0);
  CHECK(p.set.master().equal_bits(before));
  muon.step(p.gradients(1), 1e-3);
  CHECK(p.set[1].master.equal_bits(SomeParameters(DType::f64).set[1].master));
  CHECK_FALSE(p.set[2].master.equal_bits(SomeParameters(DType::f64).set[2].master));
}

TEST_CASE("muon: the state names each parameter once, by the rule that moves it") {
  SomeParameters p(DType::f32);
  const Muon muon(p.set, {});
  std::vector<std::string> names;
  for (const NamedTensor& tensor : muon.state()) names.push_back(tensor.name);
  CHECK(names == std::vector<std::string>{"embed.weight.m", "embed.weight.v", "layers.0.mixer.qkv.weight.momentum",
                                          "layers.0.mixer.up.weight.momentum", "layers.0.mixer.conv.weight.m",
                                          "layers.0.mixer.conv.weight.v", "layers.0.mixer.A_log.m",
                                          "layers.0.mixer.A_log.v", "layers.0.mixer.bias.m", "layers.0.mixer.bias.v"});
}

TEST_CASE(
    "muon: in every model, tables, norms, biases, coefficients, A_log, D and convolutions are no hidden matrices") {
  const std::set<std::string> others{"bias", "a", "b", "A_log", "D"};
  for (const DecoderForm& form : decoder_forms()) {
    const auto decoder = make_decoder(form.config, DType::f32);
    for (const auto& named : parameter_shapes(form.config)) {
      const std::string& name = named.first;
      CAPTURE(name);
      const bool table = name == "embed.weight" || name == "pos.weight" || name == "head.weight";
      const bool norm = name.find("norm") != std::string::npos;
      const bool convolution = name.find(".conv.") != std::string::npos;
      const bool coefficient = others.count(name.substr(name.rfind('.') + 1)) == 1;
      CHECK(is_hidden_matrix(decoder->parameters().at(name)) == (!table && !norm && !convolution && !coefficient));
    }
  }
}

TEST_CASE("muon: an option outside its range is refused") {
  SomeParameters p(DType::f32);
  const auto text = [&](const MuonOptions& options) { return error_text<ValueError>([&] { Muon(p.set, options); }); };
  CHECK(text({.muon_lr = -1}) == "muon: muon_lr must be finite and at least 0, got -1");
  CHECK(text({.momentum = 1}) == "muon: momentum must be in [0,1), got 1");
  CHECK(text({.learning_rate = 0}) == "muon: learning_rate must be finite and above 0, got 0");
  CHECK(error_text<ValueError>([&] {
          make_optimizer({.name = "muon", .values = {{"muon-lr", 11}}}, p.set);
        }) == "optimizer muon: muon-lr must be in [0, 10]; got 11");
}

}  // namespace
}  // namespace mixgrad::test
