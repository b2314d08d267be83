// Above 400 lines by a few: one identity after another, each on its own.
// What is known of hierarchical shift mixing on paper: a stack of layers x <- x + a x_t + b x_{t-s}, s = 1, 2, 4, ...
// answers an impulse, at lag d, with the product over the layers of b (bit of d set) or 1 + a (not set).
#include <doctest/doctest.h>

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "ops/elementwise/elementwise.h"
#include "ops/shift_mix/shift_mix.h"
#include "tests/support/mixer_laws.h"

namespace mixgrad::test {
namespace {

// One layer: coefficients for each channel of [.., D] in full, whichever form the operator is given.
struct Layer {
  Tensor a, b;  // [H] or [D]
  Sizes shifts;

  double a_of(std::int64_t channel, std::int64_t width) const { return a.at(channel * a.numel() / width); }
  double b_of(std::int64_t channel, std::int64_t width) const { return b.at(channel * b.numel() / width); }
};

std::vector<Layer> random_layers(std::int64_t layers, std::int64_t coefficients, const std::vector<Sizes>& shifts) {
  std::vector<Layer> stack;
  for (std::int64_t l = 0; l < layers; ++l) {
    const auto seed = static_cast<std::uint64_t>(l);
    stack.push_back({normal_tensor({coefficients}, DType::f64, 100 + seed),
                     normal_tensor({coefficients}, DType::f64, 200 + seed), shifts[static_cast<std::size_t>(l)]});
  }
  return stack;
}

// Shifts of each layer by the documented schedule.
std::vector<Sizes> schedule(std::int64_t layers, std::int64_t heads, std::int64_t context) {
  std::vector<Sizes> all;
  for (std::int64_t l = 0; l < layers; ++l) {
    all.emplace_back();
    for (std::int64_t h = 0; h < heads; ++h) all.back().push_back(default_shift(l, h, context));
  }
  return all;
}

// The residual stack, without norm and MLP.
Tensor run_stack(const std::vector<Layer>& stack, Tensor x, Boundary boundary = Boundary::zero) {
  for (const Layer& layer : stack) {
    x = add(x, shift_mix(x, layer.a, layer.b, {.shifts = layer.shifts, .boundary = boundary}));
  }
  return x;
}

// 1 at time `at` in every channel of the first of two sequences.
Tensor impulse(std::int64_t steps, std::int64_t width, std::int64_t at) {
  const Tensor x = Tensor::zeros({2, steps, width}, DType::f64);
  for (std::int64_t c = 0; c < width; ++c) x.set(at * width + c, 1);
  return x;
}

// The product formula for a channel of head `head`: layer l shifts by 2^((l + head) mod L).
double response(const std::vector<Layer>& stack, std::int64_t lag, std::int64_t channel, std::int64_t head,
                std::int64_t width) {
  const auto layers = static_cast<std::int64_t>(stack.size());
  if (lag < 0 || lag >= std::int64_t{1} << layers) return 0;
  double product = 1;
  for (std::int64_t l = 0; l < layers; ++l) {
    const Layer& layer = stack[static_cast<std::size_t>(l)];
    const bool bit = (lag >> ((l + head) % layers) & 1) != 0;
    product *= bit ? layer.b_of(channel, width) : 1 + layer.a_of(channel, width);
  }
  return product;
}

std::string response_differs(const std::vector<Layer>& stack, std::int64_t heads, std::int64_t width) {
  const std::int64_t reach = std::int64_t{1} << stack.size();
  const std::int64_t steps = reach + 7;
  constexpr std::int64_t kAt = 3;
  const Tensor y = run_stack(stack, impulse(steps, width, kAt));
  const Tensor want = Tensor::zeros(y.shape(), DType::f64);
  for (std::int64_t t = 0; t < steps; ++t) {
    for (std::int64_t c = 0; c < width; ++c)
      want.set(t * width + c, response(stack, t - kAt, c, c * heads / width, width));
  }
  for (std::int64_t i = 0; i < y.numel(); ++i) {  // relative, element by element: products of many factors are small
    if (std::abs(y.at(i) - want.at(i)) <= 1e-13 * std::abs(want.at(i))) continue;
    return text_of("time ", i / width, ", channel ", i % width, ": ", y.at(i), ", must be ", want.at(i));
  }
  return {};
}

TEST_CASE("hsm: the impulse response of a scalar stack is the product formula, at every lag") {
  for (std::int64_t layers = 1; layers <= 6; ++layers) {
    CHECK(response_differs(random_layers(layers, 1, schedule(layers, 1, 64)), 1, 3) == kHolds);
  }
}

TEST_CASE("hsm: the impulse response of a vector stack is the product formula of each channel") {
  for (std::int64_t layers = 1; layers <= 6; ++layers) {
    CHECK(response_differs(random_layers(layers, 5, schedule(layers, 1, 64)), 1, 5) == kHolds);
  }
}

TEST_CASE("hsm: with heads, and as many layers as the schedule is long, every channel has the product formula") {
  for (const std::int64_t context : {2, 5, 16, 64}) {
    std::int64_t period = 1;
    while (std::int64_t{1} << period < context) ++period;
    const std::vector<Sizes> shifts = schedule(period, 4, context);
    CHECK(response_differs(random_layers(period, 4, shifts), 4, 8) == kHolds);
    CHECK(response_differs(random_layers(period, 8, shifts), 4, 8) == kHolds);
  }
}

TEST_CASE("hsm: the receptive field of L layers is exactly 2^L tokens, for values and for gradients") {
  for (std::int64_t layers = 1; layers <= 6; ++layers) {
    const std::vector<Layer> stack = random_layers(layers, 1, schedule(layers, 1, 64));
    const std::int64_t reach = std::int64_t{1} << layers;
    const std::int64_t steps = reach + 5;
    const Tensor x = normal_tensor({1, steps, 2}, DType::f64, 1);
    const Tensor y = run_stack(stack, x);
    const auto last_changes = [&](std::int64_t time) {
      const Tensor other = x.clone();
      other.set(2 * time, other.at(2 * time) + 1);
      return !time_slice(run_stack(stack, other), steps - 1, steps).equal_bits(time_slice(y, steps - 1, steps));
    };
    Tape tape;
    Tensor watched = x.clone();
    tape.watch(watched);
    const Tensor out = run_stack(stack, watched);
    const Tensor cotangent = Tensor::zeros(out.shape(), DType::f64);
    cotangent.set(2 * (steps - 1), 1);
    const std::vector<Shape> shapes = tape.leaf_shapes();
    Gradients gradients(shapes, DType::f64);
    const Tape::Seed seed{out, cotangent};
    std::move(tape).backward(std::span(&seed, 1), gradients);
    for (std::int64_t t = 0; t < steps; ++t) {
      INFO("layers " << layers << ", time " << t);
      const std::int64_t lag = steps - 1 - t;
      CHECK(last_changes(t) == (lag < reach));
      const double gradient = gradients.of(0).at(2 * t);
      const double want = response(stack, lag, 0, 0, 2);
      CHECK(std::abs(gradient - want) <= 1e-13 * std::abs(want));
    }
  }
}

TEST_CASE("hsm: the default schedule doubles layer by layer, covers the context and starts again") {
  const auto row = [](std::int64_t context, std::int64_t layers, std::int64_t head) {
    Sizes shifts;
    for (std::int64_t l = 0; l < layers; ++l) shifts.push_back(default_shift(l, head, context));
    return shifts;
  };
  CHECK(row(1, 3, 0) == Sizes{1, 1, 1});
  CHECK(row(2, 3, 0) == Sizes{1, 1, 1});
  CHECK(row(12, 6, 0) == Sizes{1, 2, 4, 8, 1, 2});
  CHECK(row(16, 6, 0) == Sizes{1, 2, 4, 8, 1, 2});
  CHECK(row(17, 6, 0) == Sizes{1, 2, 4, 8, 16, 1});
  CHECK(row(16, 6, 3) == Sizes{8, 1, 2, 4, 8, 1});
  for (std::int64_t context = 2; context < 300; ++context) {
    std::int64_t reach = 1;
    std::int64_t layers = 0;
    for (; reach < context; ++layers) reach += default_shift(layers, 0, context);
    CHECK(default_shift(layers, 0, context) == 1);  // the next round begins when, and not before, all is covered
    CHECK(default_shift(layers - 1, 0, context) == std::int64_t{1} << (layers - 1));
  }
}

TEST_CASE("hsm: the reversed schedule reaches every lag below 2^L on one path too") {
  for (std::int64_t layers = 1; layers <= 6; ++layers) {
    const auto stack = expand_mixer_pattern("hsm:scalar(schedule=reversed)", {.layers = layers, .context = 64});
    std::vector<std::int64_t> paths{1};  // paths[d]: ways to choose the layers that shift
    for (std::size_t l = 0; l < stack.size(); ++l) {
      const std::int64_t s = stack[l].get<HsmConfig>().shifts[0];
      CHECK(s == std::int64_t{1} << (stack.size() - 1 - l));
      std::vector<std::int64_t> longer(paths.size() + static_cast<std::size_t>(s), 0);
      for (std::size_t d = 0; d < paths.size(); ++d) {
        longer[d] += paths[d];
        longer[d + static_cast<std::size_t>(s)] += paths[d];
      }
      paths = longer;
    }
    CHECK(paths == std::vector<std::int64_t>(std::size_t{1} << layers, 1));
  }
}

TEST_CASE("hsm: a vector mixer with equal coefficients within a head is the scalar mixer, bit for bit") {
  const Sizes shifts{1, 3, 7, 9};
  const Tensor x = normal_tensor({2, 8, 12}, DType::f64, 1);
  for (const Boundary boundary : {Boundary::zero, Boundary::self}) {
    const auto gradients_of = [&](Tensor a, Tensor b, Tensor& y) {
      Tape tape;
      tape.watch(a);
      tape.watch(b);
      y = shift_mix(x, a, b, {.shifts = shifts, .boundary = boundary});
      const std::vector<Shape> leaves = tape.leaf_shapes();
      Gradients gradients(leaves, DType::f64);
      const Tape::Seed seed{y, normal_tensor(y.shape(), DType::f64, 4)};
      std::move(tape).backward(std::span(&seed, 1), gradients);
      return gradients;
    };
    const Tensor a = normal_tensor({4}, DType::f64, 2);
    const Tensor b = normal_tensor({4}, DType::f64, 3);
    const Tensor a_wide = Tensor::empty({12}, DType::f64);
    const Tensor b_wide = Tensor::empty({12}, DType::f64);
    for (std::int64_t c = 0; c < 12; ++c) {
      a_wide.set(c, a.at(c / 3));
      b_wide.set(c, b.at(c / 3));
    }
    Tensor scalar;
    Tensor vector;
    const Gradients of_scalar = gradients_of(a, b, scalar);
    const Gradients of_vector = gradients_of(a_wide, b_wide, vector);
    CHECK(scalar.detach().equal_bits(vector.detach()));
    for (std::size_t i = 0; i < 2; ++i) {  // the scalar's gradient is the sum over the head
      const Tensor sums = Tensor::zeros({4}, DType::f64);
      for (std::int64_t c = 0; c < 12; ++c) sums.set(c / 3, sums.at(c / 3) + of_vector.of(i).at(c));
      CHECK(differs(of_scalar.of(i), sums) == kHolds);
    }
  }
}

TEST_CASE("hsm: shift is shift_mix with a = 0 and b = 1, bit for bit") {
  const Sizes shifts{1, 3, 7, 9};
  const Tensor x = normal_tensor({2, 8, 12}, DType::f64, 1);
  for (const Boundary boundary : {Boundary::zero, Boundary::self}) {
    const ShiftOptions options{.shifts = shifts, .boundary = boundary};
    const Tensor want = shift_mix(x, Tensor::zeros({4}, DType::f64), Tensor::full({4}, DType::f64, 1), options);
    CHECK(differs(shift(x, options), want) == kHolds);
  }
}

// A mixer of that variant whose parameters are 0 but for what `set` writes.
template <class Set>
std::unique_ptr<OwnMixer> variant_with(HsmVariant variant, Boundary boundary, const Set& set) {
  const LayerForm form{hsm_layer(variant, {1, 3, 4, 9}, HsmProjection::none, boundary)};
  auto own = std::make_unique<OwnMixer>(form, DType::f64);
  own->parameters.flat().fill(0);
  set(own->parameters);
  return own;
}

// The same outputs and gradients to the input, of whole sequences and token by token.
std::string mixers_differ(const OwnMixer& one, const OwnMixer& other) {
  const Tensor u = normal_tensor({2, 8, kWidth}, DType::f64, 1);
  const Tensor cotangent = normal_tensor(u.shape(), DType::f64, 2);
  const auto run = [&](const OwnMixer& own, Gradients& gradients) {
    Tape tape;
    Tensor x = u.clone();
    tape.watch(x);
    const Tensor y = own.mixer->forward(x);
    const Tape::Seed seed{y, cotangent};
    std::move(tape).backward(std::span(&seed, 1), gradients);
    return y.detach();
  };
  const std::vector<Shape> leaves{u.shape()};
  Gradients of_one(leaves, DType::f64);
  Gradients of_other(leaves, DType::f64);
  const Tensor want = run(other, of_other);
  const std::string forward = differs(run(one, of_one), want);
  if (!forward.empty()) return "forward: " + forward;
  const std::string backward = differs(of_one.of(0), of_other.of(0));
  if (!backward.empty()) return "gradient: " + backward;
  const auto state = one.mixer->new_state(2, 8, DType::f64);
  const std::string decoded = differs(in_pieces(*one.mixer, u, *state, {2, 1}), want);
  return decoded.empty() ? "" : "decoded: " + decoded;
}

constexpr std::int64_t kHeads = 4;
constexpr std::int64_t kHeadWidth = kWidth / kHeads;

std::unique_ptr<OwnMixer> scalar_mixer(Boundary boundary, const std::vector<double>& a, const std::vector<double>& b) {
  return variant_with(HsmVariant::scalar, boundary, [&](ParameterSet& parameters) {
    parameters.find("m.a")->value.copy_from(Tensor::from(a, {kHeads}, DType::f64));
    parameters.find("m.b")->value.copy_from(Tensor::from(b, {kHeads}, DType::f64));
  });
}

TEST_CASE("hsm: matrix with A = a I, B = b I and c = 0 is scalar") {
  const std::vector<double> a{0.25, -1.5, 0.7, 2};
  const std::vector<double> b{0.5, 0.3, -1, 0.1};
  const auto diagonal = [](const Tensor& matrices, const std::vector<double>& values) {
    for (std::int64_t h = 0; h < kHeads; ++h) {
      for (std::int64_t i = 0; i < kHeadWidth; ++i) {
        matrices.set((h * kHeadWidth + i) * kHeadWidth + i, values[static_cast<std::size_t>(h)]);
      }
    }
  };
  for (const Boundary boundary : {Boundary::zero, Boundary::self}) {
    const auto matrix = variant_with(HsmVariant::matrix, boundary, [&](ParameterSet& parameters) {
      diagonal(parameters.find("m.u.weight")->value, a);
      diagonal(parameters.find("m.z.weight")->value, b);
    });
    CHECK(mixers_differ(*matrix, *scalar_mixer(boundary, a, b)) == kHolds);
  }
}

TEST_CASE("hsm: a gate with W = 0 and c = 0 is scalar with a = b = 1/2") {
  const std::vector<double> half(kHeads, 0.5);
  for (const Boundary boundary : {Boundary::zero, Boundary::self}) {
    for (const HsmVariant variant : {HsmVariant::gate_single, HsmVariant::gate_double}) {
      const auto gate = variant_with(variant, boundary, [](ParameterSet&) {});
      CHECK(mixers_differ(*gate, *scalar_mixer(boundary, half, half)) == kHolds);
    }
  }
}

TEST_CASE("hsm: a gate that is far on one side chooses u or z") {
  const std::vector<double> one(kHeads, 1);
  const std::vector<double> none(kHeads, 0);
  for (const double side : {-50.0, 50.0}) {
    const auto gate = variant_with(HsmVariant::gate_double, Boundary::self,
                                   [&](ParameterSet& parameters) { parameters.find("m.gate.bias")->value.fill(side); });
    const auto want = side > 0 ? scalar_mixer(Boundary::self, one, none) : scalar_mixer(Boundary::self, none, one);
    CHECK(mixers_differ(*gate, *want) == kHolds);
  }
}

TEST_CASE("hsm: fusion whose hidden units are far above zero is matrix, since gelu(x) = x there") {
  // up = [A B] with a bias of 20 (the input is scaled below it), down = I and a bias that takes the 20 away.
  OwnMixer matrix({hsm_layer(HsmVariant::matrix, {1, 3, 4, 9})}, DType::f64);
  HsmConfig layer = hsm_layer(HsmVariant::fusion, {1, 3, 4, 9});
  layer.options = {kHeadWidth};
  OwnMixer fusion({layer}, DType::f64);
  const auto of = [](OwnMixer& own, const char* name) { return own.parameters.find(name)->value; };
  const Tensor up = of(fusion, "m.up.weight");
  of(fusion, "m.down.weight").fill(0);
  for (std::int64_t row = 0; row < kHeads * kHeadWidth; ++row) {
    for (std::int64_t i = 0; i < kHeadWidth; ++i) {
      up.set(row * 2 * kHeadWidth + i, of(matrix, "m.u.weight").at(row * kHeadWidth + i));
      up.set(row * 2 * kHeadWidth + kHeadWidth + i, of(matrix, "m.z.weight").at(row * kHeadWidth + i));
    }
    of(fusion, "m.down.weight").set(row * kHeadWidth + row % kHeadWidth, 1);
    of(fusion, "m.up.bias").set(row, 20 + of(matrix, "m.bias").at(row));
    of(fusion, "m.down.bias").set(row, -20);
  }
  CHECK(mixers_differ(fusion, matrix) == kHolds);
}

TEST_CASE("hsm: at the start matrices are normal(0.02), biases 0, a and b as asked for; no decay for biases, a and b") {
  for (const HsmVariant variant : hsm_variants()) {
    ModelConfig config;
    config.d_model = 64;
    ParameterSet parameters;
    HsmConfig layer = hsm_layer(variant, {1, 2});
    for (std::int64_t& option : layer.options) option = 32;
    config.layers = {layer};
    const auto mixer = make_mixer(layer, {parameters, "layers.0.mixer", config, 0.02});
    set_hsm_scale(parameters, config, 0.125);
    parameters.allocate(DType::f64);
    parameters.initialize(1);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Parameter& p = parameters[i];
      INFO(to_string(variant) << " " << p.name);
      double squares = 0;
      for (const double v : p.value.to_vector()) squares += v * v / static_cast<double>(p.value.numel());
      const bool matrix = p.name.ends_with(".weight");
      const bool bias = p.name.ends_with("bias");
      CHECK((matrix || bias || p.name.ends_with("mixer.a") || p.name.ends_with("mixer.b")));
      CHECK(p.decay == matrix);
      if (matrix) {
        CHECK(std::abs(std::sqrt(squares) - 0.02) < 1e-3);
      } else {
        CHECK(p.value.to_vector() == std::vector<double>(static_cast<std::size_t>(p.value.numel()), bias ? 0 : 0.125));
      }
    }
  }
}

TEST_CASE("hsm: the boundary self passes a constant on as (a + b) times it, zero lets it begin at the shift") {
  const Layer layer{
      Tensor::from(std::vector{0.25}, {1}, DType::f64), Tensor::from(std::vector{0.5}, {1}, DType::f64), {3}};
  const Tensor ones = Tensor::full({1, 6, 2}, DType::f64, 1);
  const auto mix = [&](Boundary boundary) {
    return shift_mix(ones, layer.a, layer.b, {.shifts = layer.shifts, .boundary = boundary}).to_vector();
  };
  CHECK(mix(Boundary::self) == std::vector<double>(12, 0.75));
  CHECK(mix(Boundary::zero) ==
        std::vector<double>{0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75});
}

TEST_CASE("hsm: the mixers of a stack, token by token through their rings, have the product formula too") {
  constexpr std::int64_t kLayers = 4;
  constexpr std::int64_t kSteps = 22;
  std::vector<std::unique_ptr<OwnMixer>> mixers;
  std::vector<std::unique_ptr<MixerState>> states;
  std::vector<Layer> stack;
  for (const LayerConfig& layer : expand_mixer_pattern("hsm:vector(heads=2)", {.layers = kLayers, .context = 16})) {
    mixers.push_back(std::make_unique<OwnMixer>(LayerForm{layer}, DType::f64, 6));
    states.push_back(mixers.back()->mixer->new_state(2, kSteps, DType::f64));
    ParameterSet& parameters = mixers.back()->parameters;
    stack.push_back({parameters.find("m.a")->value, parameters.find("m.b")->value, layer.get<HsmConfig>().shifts});
  }
  const Tensor x = impulse(kSteps, 6, 2);
  for (std::int64_t t = 0; t < kSteps; ++t) {
    Tensor token = time_slice(x, t, t + 1);
    for (std::size_t l = 0; l < mixers.size(); ++l) token = add(token, mixers[l]->mixer->step(token, *states[l]));
    for (std::int64_t c = 0; c < 6; ++c) {
      INFO("time " << t << ", channel " << c);
      const double want = response(stack, t - 2, c, c / 3, 6);
      CHECK(std::abs(token.at(c) - want) <= 1e-13 * std::abs(want));
      CHECK(token.at(6 + c) == 0);  // the other sequence
    }
  }
}

}  // namespace
}  // namespace mixgrad::test
