// The laws of mixers, on every form of every mixer there is. The laws themselves are in mixer_laws.h; the last test
// here gives them mixers that break each of them.
#include "tests/support/mixer_laws.h"

#include <doctest/doctest.h>

#include "autograd/gradcheck.h"
#include "core/error.h"
#include "ops/elementwise/elementwise.h"
#include "ops/linear/linear.h"

namespace mixgrad::test {
namespace {

const Sizes kLengths{1, 2, 7, 17, 33};

template <class Law>
void for_every_mixer(std::int64_t length, const Law& law) {
  for (const MixerForm& form : mixer_forms(length)) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      const Subject subject = subject_of(form, dtype);
      INFO(subject.name);
      CHECK(law(subject) == kHolds);
    }
  }
}

TEST_CASE("mixers: a large change of later inputs leaves earlier outputs as they are, bit for bit") {
  const OneThread one_thread;
  for (const std::int64_t length : kLengths) {
    for_every_mixer(length, [&](const Subject& s) { return not_causal(s, length); });
  }
}

TEST_CASE("mixers: the gradient of an output to later inputs is exactly zero") {
  const OneThread one_thread;
  for (const std::int64_t length : {1, 2, 7, 17}) {
    for_every_mixer(length, [&](const Subject& s) { return gradient_not_causal(s, length); });
  }
}

TEST_CASE("mixers: prefill of the first k tokens, then steps or pieces of three, is forward, for every k") {
  const OneThread one_thread;
  for (const std::int64_t length : kLengths) {
    for_every_mixer(length, [&](const Subject& s) { return pieces_differ(s, length); });
  }
}

TEST_CASE("mixers: the sequences of a batch do not see each other, bit for bit") {
  const OneThread one_thread;
  for (const std::int64_t length : {1, 7, 33}) {
    for_every_mixer(length, [&](const Subject& s) { return rows_depend(s, length); });
  }
}

TEST_CASE("mixers: a state has the documented bytes") {
  const OneThread one_thread;
  for (const std::int64_t batch : {1, 3}) {
    for_every_mixer(17, [&](const Subject& s) { return state_size_differs(s, batch); });
  }
  for_every_mixer(17, [](const Subject& s) -> std::string {
    const auto state = s.new_state(2, kContext);
    std::size_t bytes = 0;
    if (const auto* attention = dynamic_cast<const KeyValueState*>(state.get())) {
      bytes = attention->keys.bytes() + attention->values.bytes();
    } else if (const auto* mixed = dynamic_cast<const RecurformerState*>(state.get())) {
      if (mixed->attention) bytes += mixed->attention->keys.bytes() + mixed->attention->values.bytes();
      if (mixed->mamba) bytes += mixed->mamba->conv.bytes() + mixed->mamba->scan.bytes();
      if (mixed->ring.defined()) bytes += mixed->ring.bytes();
    } else {
      bytes = dynamic_cast<const HsmState&>(*state).ring.bytes();
    }
    return bytes == state->bytes() ? "" : text_of("the tensors have ", bytes, " bytes, bytes() is ", state->bytes());
  });
}

TEST_CASE("mixers: an attention state is as long as asked for, at most the context") {
  const OneThread one_thread;
  const Subject subject = subject_of({AttentionConfig{4, 2}, Positions::none}, DType::f32);
  for (const std::int64_t tokens : {1, 7, 40, 41, 1000}) {
    const std::int64_t kept = std::min<std::int64_t>(tokens, kContext);
    const auto bytes = static_cast<std::size_t>(2 * kept * 2 * 4 * 4);  // k and v, two heads of width 4, f32
    CHECK(subject.new_state(3, tokens)->bytes() == 3 * bytes);
    CHECK(subject.mixer->state_bytes(tokens, DType::f32) == bytes);
  }
}

TEST_CASE("mixers: clones are independent, and a state after reset is as new, bit for bit") {
  const OneThread one_thread;
  for_every_mixer(7, [](const Subject& s) { return states_depend(s, 5, 6); });
  for_every_mixer(17, [](const Subject& s) { return states_depend(s, 1, 20); });
  for (const MixerForm& form : attention_forms()) {  // full rings
    const Subject subject = subject_of(form, DType::f64, 8);
    INFO(subject.name);
    CHECK(states_depend(subject, 5, 9) == kHolds);
    CHECK(states_depend(subject, 19, 3) == kHolds);
  }
}

TEST_CASE("mixers: 10,000 tokens take no more memory than the first ones") {
  const OneThread one_thread;
  const Sizes shifts{1, 2, 33, 64};
  std::vector<MixerForm> forms = attention_forms();
  for (const HsmVariant variant : hsm_variants()) {
    forms.push_back({hsm_layer(variant, shifts)});
    forms.push_back({hsm_layer(variant, shifts, HsmProjection::vo, Boundary::self)});
  }
  for (const MixerForm& form : recurformer_forms(33)) forms.push_back(form);
  for (const MixerForm& form : forms) {
    const auto* mixed = std::get_if<RecurformerConfig>(&form.layer);
    const bool constant =
        std::holds_alternative<HsmConfig>(form.layer) || (mixed != nullptr && mixed->softmax_groups() == 0);
    const Subject subject = subject_of(form, DType::f32);
    INFO(subject.name);
    const Tensor token = subject.input(1, 1, 7);
    const auto state = subject.new_state(1, kContext);
    const auto advance = [&](int steps) {
      for (int i = 0; i < steps; ++i) subject.mixer->step(token, *state);
    };
    advance(100);
    const std::size_t bytes = state->bytes();
    const PoolStats before = pool_stats(test_device());
    advance(constant ? 9900 : 900);
    const PoolStats after = pool_stats(test_device());
    CHECK(state->bytes() == bytes);
    if (form.positions == Positions::rope) continue;  // its table of angles grows with the position
    CHECK(after.in_use == before.in_use);
    CHECK(after.cached == before.cached);
    CHECK(after.system_allocations == before.system_allocations);
  }
}

TEST_CASE("attention beyond the ring is forward with that window, whatever the pieces") {
  const OneThread one_thread;
  const std::vector<Sizes> pieces{{1},       {29},      {8, 1},   {7, 2},    {9, 1},  {3},          {5, 20, 4},
                                  {8, 8, 8}, {1, 7, 9}, {16, 13}, {7, 1, 8}, {4, 12}, {6, 3, 1, 19}};
  constexpr std::int64_t kRing = 8;
  constexpr std::int64_t kSteps = 29;
  for (const MixerForm& form : attention_forms()) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      const Subject subject = subject_of(form, dtype, kRing);
      INFO(subject.name);
      const auto& attention = dynamic_cast<const AttentionMixer&>(*subject.mixer);
      const Tensor x = subject.input(2, kSteps, 9);
      const Tensor windowed = attention.windowed(x, kRing);
      const Tensor unlimited = attention.forward(x);
      CHECK(differs(time_slice(windowed, 0, kRing), time_slice(unlimited, 0, kRing)) == kHolds);
      if (test_device().is_cpu()) {
        CHECK(time_slice(windowed, 0, kRing).equal_bits(time_slice(unlimited, 0, kRing)));
      }
      CHECK(differs(windowed, unlimited) != kHolds);
      for (const Sizes& sizes : pieces) {
        const auto state = subject.new_state(2, 1000);
        CHECK(differs(in_pieces(attention, x, *state, sizes), windowed) == kHolds);
        CHECK(state->position() == kSteps);
      }
      // A shorter state is a shorter window.
      const auto state = subject.new_state(2, 5);
      CHECK(differs(in_pieces(attention, x, *state, {4, 3}), attention.windowed(x, 5)) == kHolds);
    }
  }
}

TEST_CASE("rotary attention sees distances only: far from the start it gives the same") {
  const OneThread one_thread;
  const Subject subject = subject_of({AttentionConfig{4, 2}, Positions::rope}, DType::f64, 8);
  const Tensor x = subject.input(1, 20, 9);
  const auto fresh = subject.new_state(1, 8);
  const Tensor want = in_pieces(*subject.mixer, x, *fresh, {1});
  const auto used = subject.new_state(1, 8);
  in_pieces(*subject.mixer, subject.input(1, 3000, 10), *used, {1});
  const Tensor got = in_pieces(*subject.mixer, x, *used, {1});
  // From the ring's length on, nothing of the past is left.
  const Tensor tail = time_slice(want, 8, 20).to(kCpu);
  CHECK(not_close_to_scale(time_slice(got, 8, 20).to(kCpu), tail, 1e-10, largest_of(tail)) == kHolds);
}

TEST_CASE("mixers: the gradients of inputs and parameters are those of central differences") {
  const OneThread one_thread;
  std::vector<MixerForm> forms = attention_forms();
  for (const MixerForm& form : recurformer_forms(3)) forms.push_back(form);
  for (const MixerForm& form : hsm_forms(3)) forms.push_back(form);  // shifts 1, 2, 3, 4 and 64, 5 tokens
  for (const MixerForm& form : forms) {
    OwnMixer own(form, DType::f64, 8);
    std::vector<Tensor> inputs{normal_tensor({2, 5, 8}, DType::f64, 1)};
    GradcheckOptions options;
    options.names = {"u"};
    options.device = test_device();
    const auto* hsm = std::get_if<HsmConfig>(&form.layer);
    const bool beyond = hsm != nullptr && *std::min_element(hsm->shifts.begin(), hsm->shifts.end()) > 4;
    // Where no token has one before it, z is 0, or u: then a gate has nothing to choose.
    const auto no_effect = [&](const std::string& name) {
      if (!beyond) return false;
      if (hsm->boundary == Boundary::self) return name.starts_with("m.gate");
      return name == "m.b" || name == "m.z.weight" || name == "m.gate_z.weight";
    };
    for (std::size_t i = 0; i < own.parameters.size(); ++i) {
      inputs.push_back(own.parameters[i].value.to(kCpu).clone());
      options.names.push_back(own.parameters[i].name);
    }
    const GradcheckReport report = gradcheck(
        inputs,
        [&](std::span<const Tensor> in) {
          for (std::size_t i = 0; i < own.parameters.size(); ++i) own.parameters[i].value = in[i + 1];
          return std::vector{own.mixer->forward(in[0])};
        },
        options);
    INFO(form.name());
    CHECK(report.rows.size() == inputs.size());
    CHECK(report.failures() == kHolds);
    for (const GradcheckRow& row : report.rows) {
      INFO(row.input);
      CHECK(row.vacuous == no_effect(row.input));
    }
  }
}

TEST_CASE("mixers: a state of another mixer or another batch is refused") {
  const OneThread one_thread;
  const Subject attention = subject_of({AttentionConfig{4, 4}, Positions::none}, DType::f64);
  const Subject hsm = subject_of({HsmConfig{HsmVariant::scalar, 1, {2}}, Positions::none}, DType::f64);
  const Tensor x = attention.input(2, 3, 1);
  const auto text = [&](const Subject& s, const Subject& from, std::int64_t batch) {
    return error_text<ValueError>([&] { s.mixer->prefill(x, *from.new_state(batch, 8)); });
  };
  CHECK(text(attention, hsm, 2) == "attention: the state must come from this mixer's new_state with batch 2");
  CHECK(text(attention, attention, 3) == "attention: the state must come from this mixer's new_state with batch 2");
  CHECK(text(hsm, attention, 2) == "hsm: the state must come from this mixer's new_state with batch 2");
  const Subject mixed = subject_of({RecurformerConfig{2, 2, {1}}, Positions::none}, DType::f64);
  CHECK(text(mixed, hsm, 2) == "recurformer: the state must come from this mixer's new_state with batch 2");
  CHECK(text(mixed, mixed, 1) == "recurformer: the state must come from this mixer's new_state with batch 2");
  CHECK(text(hsm, hsm, 1) == "hsm: the state must come from this mixer's new_state with batch 2");
  const auto empty = [](const Subject& s, std::int64_t batch, std::int64_t tokens) {
    return error_text<ValueError>([&] { s.new_state(batch, tokens); });
  };
  CHECK(empty(attention, 0, 8) == "attention state: batch and max_tokens must be at least 1, got 0 and 8");
  CHECK(empty(mixed, 1, 0) == "recurformer state: batch and max_tokens must be at least 1, got 1 and 0");
  CHECK(empty(hsm, 2, 0) == "hsm state: batch and max_tokens must be at least 1, got 2 and 0");
}

// Mixers that are right but for one mistake.
enum class Mistake { none, sees_future, sees_batch, guesses, shares_clone, keeps_position, hides_bytes };

struct FaultyState : HsmState {
  Mistake mistake = Mistake::none;

  std::size_t bytes() const override { return HsmState::bytes() / (mistake == Mistake::hides_bytes ? 2 : 1); }
  void reset() override { consumed = mistake == Mistake::keeps_position ? consumed : 0; }
  std::unique_ptr<MixerState> clone() const override {
    auto copy = std::make_unique<FaultyState>(*this);
    if (mistake != Mistake::shares_clone) copy->ring = ring.clone();
    return copy;
  }
};

class FaultyMixer : public Mixer {
 public:
  explicit FaultyMixer(Mistake mistake) : mistake_(mistake), own_({form(), Positions::none}, DType::f64) {}

  static HsmConfig form() { return {HsmVariant::vector, 2, {1, 3}}; }
  std::string describe() const override { return "faulty"; }
  double operations(std::int64_t) const override { return 0; }
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const override {
    return own_.mixer->state_bytes(tokens, dtype);
  }
  Tensor forward(const Tensor& u) const override {
    const Tensor y = own_.mixer->forward(u);
    const std::int64_t length = u.dim(1) * u.dim(2);
    if (mistake_ == Mistake::sees_future) {  // one small number from the last time to the first
      const Tensor mix = Tensor::zeros({length, length}, DType::f64, u.device());
      mix.set(length - 1, 1e-9);
      return add(y, linear(u.reshape({u.dim(0), 1, length}), mix).reshape(u.shape()));
    }
    if (mistake_ == Mistake::sees_batch)
      return own_.mixer->forward(u.reshape({1, u.dim(0) * u.dim(1), u.dim(2)})).reshape(u.shape());
    return y;
  }
  std::unique_ptr<MixerState> new_state(std::int64_t batch, std::int64_t max_tokens, Placement place) const override {
    auto state = std::make_unique<FaultyState>();
    state->ring = dynamic_cast<HsmState&>(*own_.mixer->new_state(batch, max_tokens, place)).ring;
    state->mistake = mistake_;
    return state;
  }
  Tensor prefill(const Tensor& u, MixerState& state) const override {
    if (mistake_ == Mistake::guesses && u.dim(1) > 1) state.reset();  // "more than one token: a new sequence"
    return own_.mixer->prefill(u, state);
  }

 private:
  Mistake mistake_;
  OwnMixer own_;
};

TEST_CASE("the laws of mixers: each rejects a mixer that breaks it, and none the same mixer without the mistake") {
  const OneThread one_thread;
  const auto faulty = [](Mistake mistake) {
    const std::int64_t values = documented_state(FaultyMixer::form(), kWidth, kContext, kContext);
    return Subject{"faulty", std::make_shared<FaultyMixer>(mistake), DType::f64, false, values};
  };
  const Subject right = faulty(Mistake::none);
  CHECK(not_causal(right, 7) == kHolds);
  CHECK(gradient_not_causal(right, 7) == kHolds);
  CHECK(pieces_differ(right, 7) == kHolds);
  CHECK(rows_depend(right, 7) == kHolds);
  CHECK(state_size_differs(right, 2) == kHolds);
  CHECK(states_depend(right, 4, 5) == kHolds);
  CHECK(not_causal(faulty(Mistake::sees_future), 7) == "inputs behind time 0 of 7 change outputs up to it");
  CHECK(gradient_not_causal(faulty(Mistake::sees_future), 7) != kHolds);
  CHECK(pieces_differ(faulty(Mistake::sees_future), 7) != kHolds);
  CHECK(rows_depend(faulty(Mistake::sees_batch), 7) == "forward: depends on the order in the batch");
  CHECK(pieces_differ(faulty(Mistake::guesses), 7) != kHolds);
  CHECK(states_depend(faulty(Mistake::shares_clone), 4, 5) != kHolds);
  CHECK(states_depend(faulty(Mistake::keeps_position), 4, 5) == "position() is 9 after reset()");
  CHECK(state_size_differs(faulty(Mistake::hides_bytes), 2) != kHolds);
}

}  // namespace
}  // namespace mixgrad::test
