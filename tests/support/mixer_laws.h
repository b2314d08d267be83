// The laws of a mixer (nn/mixers/mixer.h), each a function that gives the empty text when the law holds, and else says
// where it is broken. A whole decoder is put before them dressed as a mixer: tokens in, logits out.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "autograd/tape.h"
#include "tests/support/close.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {

using Sizes = std::vector<std::int64_t>;

struct DecoderMixerState : MixerState {
  DecoderState state;

  std::int64_t position() const override { return state.position(); }
  std::size_t bytes() const override { return state.bytes(); }
  void reset() override { state.reset(); }
  void advance(std::int64_t tokens) override { state.advance(tokens); }
  std::unique_ptr<MixerState> clone() const override {
    auto copy = std::make_unique<DecoderMixerState>();
    copy->state = state.clone();
    return copy;
  }
};

class DecoderMixer : public Mixer {
 public:
  explicit DecoderMixer(std::unique_ptr<Decoder> decoder) : decoder_(std::move(decoder)) {}
  Decoder& decoder() { return *decoder_; }
  std::string describe() const override { return "decoder"; }
  // On the device under test; the results come to the host.
  Tensor forward(const Tensor& tokens) const override { return decoder_->logits(tokens).to(kCpu); }
  std::unique_ptr<MixerState> new_state(std::int64_t batch, std::int64_t max_tokens, Placement) const override {
    auto state = std::make_unique<DecoderMixerState>();
    state->state = decoder_->new_state(batch, max_tokens);
    return state;
  }
  Tensor prefill(const Tensor& tokens, MixerState& state) const override {
    return decoder_->prefill(tokens, dynamic_cast<DecoderMixerState&>(state).state).to(kCpu);
  }
  double operations(std::int64_t) const override { return 0; }
  std::size_t state_bytes(std::int64_t, DType) const override {  // at full context
    std::size_t total = 0;
    for (const LayerReport& row : decoder_->report()) total += row.state_bytes;
    return total;
  }

 private:
  std::unique_ptr<Decoder> decoder_;
};

struct Subject {
  std::string name;
  std::shared_ptr<Mixer> mixer;  // keeps alive what it stands on
  DType dtype = DType::f64;
  bool takes_tokens = false;
  std::int64_t state_values = 0;  // documented size of a state for one sequence of kContext tokens

  // Tokens stay below the last one of the vocabulary, which loud_after() uses.
  Tensor input(std::int64_t batch, std::int64_t steps, std::uint64_t seed) const {
    if (takes_tokens) return token_tensor(batch, steps, kVocabulary - 1, seed);
    return normal_tensor({batch, steps, kWidth}, dtype, seed).to(test_device());
  }
  // The same input with very large values, all finite, behind time t.
  Tensor loud_after(const Tensor& x, std::int64_t t) const {
    const Tensor loud = x.to(kCpu).clone();
    const std::int64_t width = takes_tokens ? 1 : x.dim(2);
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      if (i / width % x.dim(1) <= t) continue;
      loud.set(i, takes_tokens ? static_cast<double>(kVocabulary - 1) : (i % 3 == 0 ? 1e30 : -1e30));
    }
    return loud.to(x.device());
  }
  std::unique_ptr<MixerState> new_state(std::int64_t batch, std::int64_t max_tokens) const {
    return mixer->new_state(batch, max_tokens, {dtype, test_device()});
  }
};

inline Subject subject_of(const MixerForm& form, DType dtype, std::int64_t context = kContext) {
  const auto own = std::make_shared<OwnMixer>(form, dtype, kWidth, context);
  return {form.name() + " " + dtype_name(dtype), std::shared_ptr<Mixer>(own, own->mixer.get()), dtype, false,
          documented_state(form.layer, kWidth, context, kContext)};
}

// With `loud`, the vectors of the last token are huge.
inline Subject subject_of(const DecoderForm& form, DType dtype, bool loud = false) {
  std::unique_ptr<Decoder> decoder = make_decoder(form.config, dtype);
  if (loud) {
    const Tensor table = decoder->parameters().find("embed.weight")->value;
    for (std::int64_t c = 0; c < kWidth; ++c) table.set((kVocabulary - 1) * kWidth + c, c % 3 == 0 ? 1e9 : -1e9);
  }
  Subject subject{form.name + " " + dtype_name(dtype), nullptr, dtype, true, 0};
  const ModelConfig& config = form.config;
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const bool last = l + 1 == config.layers.size();
    subject.state_values += config.shortcut && last
                                ? documented_state(*config.shortcut, config.layers[l], kWidth, config.context, kContext)
                                : documented_state(config.layers[l], kWidth, config.context, kContext);
  }
  subject.mixer = std::make_shared<DecoderMixer>(std::move(decoder));
  return subject;
}

// Times [begin,end) of [B,T,W] or [B,T], copied.
inline Tensor time_slice(const Tensor& x, std::int64_t begin, std::int64_t end) {
  const bool flat = x.shape().rank() == 2;
  const std::int64_t width = flat ? 1 : x.dim(2);
  const Tensor from = x.detach().reshape({x.dim(0), x.dim(1), width});
  const Tensor part = Tensor::empty({x.dim(0), end - begin, width}, x.dtype(), x.device());
  for (std::int64_t b = 0; b < x.dim(0); ++b) {
    part.slice(b, b + 1)
        .reshape({end - begin, width})
        .copy_from(from.slice(b, b + 1).reshape({x.dim(1), width}).slice(begin, end));
  }
  return flat ? part.reshape({x.dim(0), end - begin}) : part;
}

// The sequences of a batch in another order, or some of them.
inline Tensor pick_rows(const Tensor& x, const Sizes& order) {
  const Shape matrix{x.dim(0), x.numel() / x.dim(0)};
  const Tensor from = x.detach().reshape(matrix);
  const auto count = static_cast<std::int64_t>(order.size());
  const Tensor picked = Tensor::empty({count, matrix[1]}, x.dtype(), x.device());
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = order[static_cast<std::size_t>(i)];
    picked.slice(i, i + 1).copy_from(from.slice(row, row + 1));
  }
  if (x.shape().rank() == 2) return picked;
  return picked.reshape({count, x.dim(1), x.dim(2)});
}

// Feeds x to a state in pieces of these sizes, the last one as often as it takes; the outputs put together.
inline Tensor in_pieces(const Mixer& mixer, const Tensor& x, MixerState& state, const Sizes& sizes) {
  const std::int64_t steps = x.dim(1);
  Tensor all;
  std::int64_t at = 0;
  for (std::size_t i = 0; at < steps; ++i) {
    const std::int64_t end = std::min(steps, at + sizes[std::min(i, sizes.size() - 1)]);
    const Tensor y = mixer.prefill(time_slice(x, at, end), state);
    if (!all.defined()) all = Tensor::empty({y.dim(0), steps, y.dim(2)}, y.dtype(), y.device());
    for (std::int64_t b = 0; b < y.dim(0); ++b) {
      all.slice(b, b + 1)
          .reshape({steps, y.dim(2)})
          .slice(at, end)
          .copy_from(y.slice(b, b + 1).reshape({end - at, y.dim(2)}));
    }
    at = end;
  }
  return all;
}

// On a CUDA device products of another number of rows round in another order (largest error seen: 3.2e-5).
inline double tolerance_of(DType dtype) {
  if (dtype == DType::f64) return 1e-12;
  return test_device().is_cuda() ? 6e-5 : 1e-5;
}

// |got - want| within the dtype's tolerance of the largest |want|.
inline std::string differs(const Tensor& on_one, const Tensor& on_other) {
  const Tensor got = on_one.to(kCpu);
  const Tensor want = on_other.to(kCpu);
  return not_close_to_scale(got, want, tolerance_of(want.dtype()), std::max(largest_of(want), 1e-30));
}

template <class... Parts>
std::string text_of(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

// y[t] depends on the inputs up to t only, bit for bit.
inline std::string not_causal(const Subject& s, std::int64_t steps) {
  const Tensor x = s.input(2, steps, 1);
  const Tensor y = s.mixer->forward(x);
  for (const double v : y.to(kCpu).to_vector()) {
    if (!std::isfinite(v)) return "the outputs are not finite";
  }
  for (std::int64_t t = 0; t + 1 < steps; ++t) {
    const Tensor other = s.mixer->forward(s.loud_after(x, t));
    if (time_slice(other, 0, t + 1).equal_bits(time_slice(y, 0, t + 1))) continue;
    return text_of("inputs behind time ", t, " of ", steps, " change outputs up to it");
  }
  return {};
}

// d y[t] / d x[t + n] is exactly 0, and d y[t] / d x[t] is not.
inline std::string gradient_not_causal(const Subject& s, std::int64_t steps) {
  for (std::int64_t t = 0; t < steps; ++t) {
    Tape tape;
    Tensor x = s.input(2, steps, 1);
    tape.watch(x);
    const Tensor y = s.mixer->forward(x);
    const Tensor cotangent = normal_tensor(y.shape(), y.dtype(), 8);
    for (std::int64_t i = 0; i < cotangent.numel(); ++i) {
      if (i / y.dim(2) % steps != t) cotangent.set(i, 0);
    }
    const std::vector<Shape> shapes = tape.leaf_shapes();
    Gradients gradients(shapes, s.dtype, y.device());
    const Tape::Seed seed{y, cotangent.to(y.device())};
    std::move(tape).backward(std::span(&seed, 1), gradients);
    const Tensor dx = gradients.of(0).to(kCpu);
    if (largest_of(time_slice(dx, t, t + 1)) == 0) return text_of("no gradient from output to input at time ", t);
    if (t + 1 == steps) continue;
    const Tensor later = time_slice(dx, t + 1, steps);
    const double largest = largest_of(later);
    if (largest != 0)
      return text_of("the gradient of output ", t, " of ", steps, " to later inputs is up to ", largest);
  }
  return {};
}

// forward = prefill of the first k tokens and single steps, or pieces of 3 tokens, for every k.
inline std::string pieces_differ(const Subject& s, std::int64_t steps) {
  const Tensor x = s.input(2, steps, 2);
  const Tensor y = s.mixer->forward(x);
  for (std::int64_t k = 1; k <= steps; ++k) {
    for (const std::int64_t piece : {1, 3}) {
      if (piece > 1 && steps - k < 2) continue;
      const auto state = s.new_state(2, steps);
      const std::string text = differs(in_pieces(*s.mixer, x, *state, {k, piece}), y);
      if (!text.empty()) return text_of("T = ", steps, ", first ", k, " tokens, then pieces of ", piece, ": ", text);
      if (state->position() != steps) return text_of("position() is ", state->position(), " after ", steps, " tokens");
    }
  }
  return {};
}

// Permuting the batch permutes the outputs, and a sequence alone gives what it gives in a batch: bit for bit, and on a
// CUDA device, where cuBLAS chooses its kernel by the number of rows, to rounding.
inline std::string rows_depend(const Subject& s, std::int64_t steps) {
  const Sizes order{2, 0, 3, 1};
  const Tensor x = s.input(4, steps, 3);
  const auto check = [&](const std::string& what, const auto& run) -> std::string {
    const Tensor y = run(x);
    const auto same = [](const Tensor& got, const Tensor& want) {
      return test_device().is_cuda() ? differs(got, want).empty() : got.equal_bits(want);
    };
    if (!same(run(pick_rows(x, order)), pick_rows(y, order))) return what + ": depends on the order in the batch";
    for (std::int64_t b = 0; b < 4; ++b) {
      if (same(run(pick_rows(x, {b})), pick_rows(y, {b}))) continue;
      return text_of(what, ": sequence ", b, " alone gives something else");
    }
    return {};
  };
  const std::string text = check("forward", [&](const Tensor& in) { return s.mixer->forward(in); });
  if (!text.empty()) return text;
  return check("prefill", [&](const Tensor& in) {
    return in_pieces(*s.mixer, in, *s.new_state(in.dim(0), steps), {(steps + 1) / 2, 1});
  });
}

// A state has the documented number of bytes, says so, and has taken them from the pool.
inline std::string state_size_differs(const Subject& s, std::int64_t batch) {
  const std::size_t before = pool_stats(test_device()).in_use;
  const auto state = s.new_state(batch, kContext);
  const std::size_t taken = pool_stats(test_device()).in_use - before;
  const std::size_t documented = static_cast<std::size_t>(batch * s.state_values) * dtype_bytes(s.dtype);
  const std::size_t formula = static_cast<std::size_t>(batch) * s.mixer->state_bytes(kContext, s.dtype);
  if (state->bytes() != documented || formula != documented) {
    return text_of("bytes() is ", state->bytes(), ", state_bytes() x batch ", formula, ", must be ", documented);
  }
  // The pool rounds each tensor up, and may give a block that is a quarter larger.
  const bool plausible = taken >= documented && taken <= (documented + 8 * 512) * 5 / 4;
  if (!plausible) return text_of(documented, " bytes are documented, the pool gave ", taken);
  return {};
}

// A clone and its original go their own ways, whichever goes first; a state after reset() is as a new one. Bit for bit.
inline std::string states_depend(const Subject& s, std::int64_t first, std::int64_t then) {
  const Tensor head = s.input(2, first, 4);
  const Tensor tail = s.input(2, then, 5);
  const Tensor other = s.input(2, then, 6);
  const auto run = [&](const Tensor& x, MixerState& state) { return in_pieces(*s.mixer, x, state, {2, 1}); };
  const auto original = s.new_state(2, first + then);
  const Tensor begin = run(head, *original);
  const auto ahead = original->clone();
  const auto behind = original->clone();
  if (ahead->position() != first || ahead->bytes() != original->bytes()) return "a clone has another position or size";
  const Tensor want = run(tail, *ahead);
  const auto spare = ahead->clone();
  const Tensor more = run(other, *ahead);
  run(other, *original->clone());
  if (!run(tail, *original).equal_bits(want)) return "advancing a clone changes the original";
  if (!run(tail, *behind).equal_bits(want)) return "advancing the original changes a clone";
  original->reset();
  if (original->position() != 0) return text_of("position() is ", original->position(), " after reset()");
  if (!run(head, *original).equal_bits(begin)) return "a state after reset() differs from a new one";
  if (!run(tail, *original).equal_bits(want)) return "a state after reset() differs from a new one, later";
  return run(other, *spare).equal_bits(more) ? "" : "resetting the original changes a clone";
}

}  // namespace mixgrad::test
