// Above 400 lines by a few: the mixers at its end break one law each.
// The laws of mixers, on every sample form of every kind of mixer. The laws are nn/mixers/laws/mixer_laws.h; the last
// tests here run them on mixers that break each of them.
#include "tests/support/mixer_laws.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "ops/elementwise/elementwise.h"
#include "ops/linear/linear.h"
#include "tests/support/sanitized.h"

namespace mixgrad::test {
namespace {

const Sizes kLengths{1, 2, 7, 17, 33};

// In all three dtypes; with sanitizers, which take ten times as long, in one of them, another for the next form and
// length.
template <class Law>
void for_every_mixer(std::int64_t length, const Law& law) {
  std::int64_t turn = length;
  for (const MixerForm& form : mixer_forms(length)) {
    ++turn;
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      if (kSanitized && turn++ % 3 != 0) continue;
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
  for (const MixerForm& form : forms_of(attention_kind(), 8)) {  // full rings
    const Subject subject = subject_of(form, DType::f64, 8);
    INFO(subject.name);
    CHECK(states_depend(subject, 5, 9) == kHolds);
    CHECK(states_depend(subject, 19, 3) == kHolds);
  }
}

// Every seventh form, so that all choices occur: a whole long sequence for each would take minutes.
std::vector<MixerForm> some_forms(std::int64_t length) {
  std::vector<MixerForm> some;
  for (const LayerKind* kind : layer_kinds()) {
    const std::vector<MixerForm> all = forms_of(*kind, length);
    const std::size_t step = all.size() < 20 ? 1 : 7;
    for (std::size_t i = 0; i < all.size(); i += step) some.push_back(all[i]);
  }
  return some;
}

TEST_CASE("mixers: 10,000 tokens take no more memory than the first ones") {
  const OneThread one_thread;
  for (const MixerForm& form : some_forms(33)) {
    if (form.positions == Positions::rope) continue;  // its table of angles grows with the position
    const Subject subject = subject_of(form, DType::f32);
    INFO(subject.name);
    CHECK(state_grows(subject, subject.mixer->softmax_heads() == 0 ? 10'000 : 1'000) == kHolds);
  }
}

TEST_CASE("mixers: 10,000 tokens in pieces of any size are the whole, in every dtype") {
  const OneThread one_thread;
  for (const MixerForm& form : some_forms(33)) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const Subject subject = subject_of(form, dtype);
      INFO(subject.name);
      CHECK(long_memory_differs(subject, 10'000, {3'001, 1, 1, 64, 2'048, 7}) == kHolds);
    }
  }
}

TEST_CASE("attention beyond the ring is forward with that window, whatever the pieces") {
  const OneThread one_thread;
  const std::vector<Sizes> pieces{{1},       {29},      {8, 1},   {7, 2},    {9, 1},  {3},          {5, 20, 4},
                                  {8, 8, 8}, {1, 7, 9}, {16, 13}, {7, 1, 8}, {4, 12}, {6, 3, 1, 19}};
  constexpr std::int64_t kRing = 8;
  constexpr std::int64_t kSteps = 29;
  for (const MixerForm& form : forms_of(attention_kind(), 8)) {
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
      const std::int64_t own = form.layer.get<AttentionConfig>().window;
      CHECK((differs(windowed, unlimited) == kHolds) == (own > 0 && own <= kRing));
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

// The oracle of windows: the output at t of the last W tokens alone is that of the whole sequence. Positions are none:
// then it does not matter where those tokens stand.
TEST_CASE("attention with a window: a token's output is that of a text that begins where its window does") {
  const OneThread one_thread;
  constexpr std::int64_t kSteps = 21;
  for (const std::int64_t window : {1, 2, 7, 20, 21, 22}) {
    const Subject subject = subject_of({AttentionConfig{.heads = 4, .kv_heads = 2, .window = window}}, DType::f64);
    CAPTURE(window);
    const Tensor x = subject.input(2, kSteps, 9);
    const Tensor y = subject.mixer->forward(x);
    for (std::int64_t t = 0; t < kSteps; ++t) {
      const std::int64_t first = std::max<std::int64_t>(0, t - window + 1);
      const Tensor alone = subject.mixer->forward(time_slice(x, first, t + 1));
      CHECK(differs(time_slice(alone, t - first, t - first + 1), time_slice(y, t, t + 1)) == kHolds);
    }
  }
}

TEST_CASE("attention with a window keeps a ring of so many tokens, and no more than the context or the text has") {
  const OneThread one_thread;
  const Subject subject = subject_of({AttentionConfig{.heads = 4, .kv_heads = 2, .window = 7}}, DType::f32);
  for (const std::int64_t tokens : {1, 6, 7, 8, 40, 1000}) {
    const auto bytes = static_cast<std::size_t>(2 * std::min<std::int64_t>(tokens, 7) * 2 * 4 * 4);
    CHECK(subject.mixer->state_bytes(tokens, DType::f32) == bytes);
    CHECK(subject.new_state(3, tokens)->bytes() == 3 * bytes);
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
  for (const LayerKind* kind : layer_kinds()) {
    CHECK(gradient_failures(*kind, test_device()) == std::vector<std::string>());
  }
}

// The formulas of the headers, worked out by hand for one layer of each kind in a model of width 16: a mistake in both
// state_bytes and the state itself would show here.
TEST_CASE("mixers: the documented bytes of a state, in numbers") {
  struct Known {
    LayerConfig layer;
    std::size_t elements;      // of the dtype
    std::size_t f32_elements;  // that are f32 in a bf16 model
  };
  const Known all[] = {
      {AttentionConfig{4, 2}, 2 * 40 * 2 * 4, 0},
      {AttentionConfig{4, 2, 7}, 2 * 7 * 2 * 4, 0},
      // Heads of width 4: groups 0 and 3 see 5 tokens, group 2 all 40; group 1 is Mamba with 4 inner channels.
      {MixedHeadsConfig{4, 4, {1}, 16, 4, 1, 1, {}, {}, {0, 3}, 5}, 2 * 5 * 2 * 4 + 2 * 40 * 4 + 4 * 3, 4 * 16},
      // One Mamba head as wide as the model, without o.
      {MixedHeadsConfig{.heads = 1, .kv_heads = 1, .recurrent_groups = {0}, .o = false}, 32 * 3, 32 * 16},
      {HsmConfig{HsmVariant::gate_single, 4, {1, 2, 64, 5}}, (1 + 2 + 64 + 5) * 4, 0},
      // Heads of width 4: one softmax, one Mamba with 8 inner channels, one shift by 3 and one by 9.
      {MixedHeadsConfig{4, 4, {1}, 16, 4, 2, 1, {2, 3}, {3, 9}}, 2 * 40 * 4 + 8 * 3 + (3 + 9) * 4, 8 * 16}};
  for (const Known& known : all) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const Subject subject = subject_of({known.layer}, dtype);
      INFO(subject.name);
      const std::size_t bytes =
          known.elements * dtype_bytes(dtype) + known.f32_elements * (dtype == DType::f64 ? 8 : 4);
      CHECK(subject.mixer->state_bytes(kContext, dtype) == bytes);
      CHECK(subject.new_state(1, kContext)->bytes() == bytes);
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
  const auto refusal = [](const std::string& mixer, const std::string& maker, std::int64_t batch) {
    return mixer + ": a state from this mixer's new_state with batch 2 is required; got one of " + maker +
           ", with batch " + std::to_string(batch) + "; use the state that was made for this layer";
  };
  CHECK(text(attention, hsm, 2) == refusal("attention", "another mixer, hsm:scalar", 2));
  CHECK(text(attention, attention, 3) == refusal("attention", "this attention", 3));
  CHECK(text(hsm, attention, 2) == refusal("hsm:scalar", "another mixer, attention", 2));
  const Subject mixed = subject_of({MixedHeadsConfig{2, 2, {1}}, Positions::none}, DType::f64);
  const Subject mamba = subject_of({MixedHeadsConfig{2, 2, {0, 1}}, Positions::none}, DType::f64);
  CHECK(text(mixed, hsm, 2) == refusal("recurformer", "another mixer, hsm:scalar", 2));
  CHECK(text(mixed, mamba, 2) == refusal("recurformer", "another mixer, mamba", 2));  // a state of the same type
  CHECK(text(mixed, mixed, 1) == refusal("recurformer", "this recurformer", 1));
  CHECK(text(hsm, hsm, 1) == refusal("hsm:scalar", "this hsm:scalar", 1));
  const Subject longer = subject_of({HsmConfig{HsmVariant::scalar, 1, {3}}, Positions::none}, DType::f64);
  CHECK(text(hsm, longer, 2) == refusal("hsm:scalar", "another mixer, hsm:scalar", 2));  // with another shift
  const auto empty = [](const Subject& s, std::int64_t batch, std::int64_t tokens) {
    return error_text<ValueError>([&] { s.new_state(batch, tokens); });
  };
  CHECK(empty(attention, 0, 8) == "attention state: batch and max_tokens must be at least 1, got 0 and 8");
  CHECK(empty(mixed, 1, 0) == "recurformer state: batch and max_tokens must be at least 1, got 1 and 0");
  CHECK(empty(hsm, 2, 0) == "hsm:scalar state: batch and max_tokens must be at least 1, got 2 and 0");
}

// Mixers that are right but for one mistake.
enum class Mistake { none, sees_future, sees_batch, guesses, shares_clone, keeps_position, hides_bytes };

struct FaultyState : MixerState {
  Mistake mistake = Mistake::none;
  std::shared_ptr<MixerState> inner;  // of the mixer without a mistake

  std::size_t bytes() const override { return inner->bytes() / (mistake == Mistake::hides_bytes ? 2 : 1); }
  std::unique_ptr<MixerState> clone() const override {
    auto copy = std::make_unique<FaultyState>(*this);
    if (mistake != Mistake::shares_clone) copy->inner = inner->clone();
    return copy;
  }

 protected:
  void clear() override {
    inner->reset();
    if (mistake == Mistake::keeps_position) advance(9);
  }
};

class FaultyMixer : public MixerOf<FaultyState> {
 public:
  explicit FaultyMixer(Mistake mistake) : mistake_(mistake), own_({form(), Positions::none}, DType::f64) {}

  static HsmConfig form() { return {HsmVariant::vector, 2, {1, 3}}; }
  std::string name() const override { return "faulty"; }
  std::string describe() const override { return "faulty"; }
  double operations(std::int64_t) const override { return 0; }
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const override {
    return own_.mixer->state_bytes(tokens, dtype);
  }
  Tensor forward(const LayerInput& input) const override {
    const Tensor& u = input.u();
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

 protected:
  std::unique_ptr<FaultyState> empty_state(std::int64_t batch, std::int64_t max_tokens,
                                           Placement placement) const override {
    auto state = std::make_unique<FaultyState>();
    state->inner = own_.mixer->new_state(batch, max_tokens, placement);
    state->mistake = mistake_;
    return state;
  }
  Tensor continued(const LayerInput& input, FaultyState& state, TokenPosition) const override {
    const bool many = input.u().dim(1) > 1;
    if (mistake_ == Mistake::guesses && many) state.inner->reset();  // "more than one token: a new sequence"
    return own_.mixer->prefill(input, *state.inner);
  }

 private:
  Mistake mistake_;
  OwnMixer own_;
};

// y_t = c y_{t-1} + (1 - c) x_t with c = 0.999, in plain loops: an average over a long memory, which its documentation
// keeps in f32. The mistakes: it is kept in the model's dtype, or state_bytes says so.
enum class AverageMistake { none, kept_in_bf16, counted_as_bf16 };

struct AverageState : MixerState {
  Tensor average;  // [B,W]

  std::size_t bytes() const override { return average.bytes(); }
  std::unique_ptr<MixerState> clone() const override {
    auto copy = std::make_unique<AverageState>(*this);
    copy->average = average.clone();
    return copy;
  }

 protected:
  void clear() override { average.fill(0); }
};

class AverageMixer : public MixerOf<AverageState> {
 public:
  explicit AverageMixer(AverageMistake mistake) : mistake_(mistake) {}
  std::string name() const override { return "average"; }
  std::string describe() const override { return "average"; }
  double operations(std::int64_t) const override { return 0; }
  std::size_t state_bytes(std::int64_t, DType dtype) const override {
    const DType kept = mistake_ == AverageMistake::none ? accumulation_dtype(dtype) : dtype;
    return static_cast<std::size_t>(kWidth) * dtype_bytes(kept);
  }
  Tensor forward(const LayerInput& input) const override {
    const Tensor average = Tensor::zeros({input.u().dim(0), kWidth}, accumulation_dtype(input.u().dtype()));
    return run(input.u(), average);
  }

 protected:
  std::unique_ptr<AverageState> empty_state(std::int64_t batch, std::int64_t, Placement placement) const override {
    const bool in_bf16 = mistake_ == AverageMistake::kept_in_bf16;
    auto state = std::make_unique<AverageState>();
    state->average = Tensor::zeros({batch, kWidth}, in_bf16 ? placement.dtype : accumulation_dtype(placement.dtype));
    return state;
  }
  Tensor continued(const LayerInput& input, AverageState& state, TokenPosition) const override {
    return run(input.u(), state.average);
  }

 private:
  static Tensor run(const Tensor& u, const Tensor& average) {
    const Tensor y = Tensor::empty(u.shape(), u.dtype());
    for (std::int64_t b = 0; b < u.dim(0); ++b) {
      for (std::int64_t t = 0; t < u.dim(1); ++t) {
        for (std::int64_t c = 0; c < kWidth; ++c) {
          const std::int64_t at = (b * u.dim(1) + t) * kWidth + c;
          average.set(b * kWidth + c, 0.999 * average.at(b * kWidth + c) + 0.001 * (1 + u.at(at)));
          y.set(at, average.at(b * kWidth + c));
        }
      }
    }
    return y;
  }

  AverageMistake mistake_;
};

TEST_CASE("the laws of mixers: an average kept in bf16, and bytes that take f32 states for bf16, are caught") {
  const auto average = [](AverageMistake mistake, DType dtype) {
    Subject subject = subject_of({AttentionConfig{}}, dtype);  // for its inputs
    subject.mixer = std::make_shared<AverageMixer>(mistake);
    subject.device = kCpu;
    subject.input = [dtype](std::int64_t batch, std::int64_t steps, std::uint64_t seed) {
      return law_numbers({batch, steps, kWidth}, dtype, seed);
    };
    return subject;
  };
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    CHECK(long_memory_differs(average(AverageMistake::none, dtype), 10'000, {100, 1}) == kHolds);
    CHECK(state_size_differs(average(AverageMistake::none, dtype), 2) == kHolds);
  }
  const Subject drifts = average(AverageMistake::kept_in_bf16, DType::bf16);
  CHECK(state_size_differs(drifts, 2) == kHolds);                  // it says what it does
  CHECK(long_memory_differs(drifts, 10'000, {100, 1}) != kHolds);  // but forgets what it should remember
  CHECK(state_size_differs(average(AverageMistake::counted_as_bf16, DType::bf16), 2) != kHolds);
}

TEST_CASE("the laws of mixers: each rejects a mixer that breaks it, and none the same mixer without the mistake") {
  const OneThread one_thread;
  const auto faulty = [](Mistake mistake) {
    Subject subject = subject_of({FaultyMixer::form()}, DType::f64);
    subject.mixer = std::make_shared<FaultyMixer>(mistake);
    return subject;
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
