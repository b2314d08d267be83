// The laws of mixers (nn/mixers/laws/mixer_laws.h) for the tests: every mixer as a subject on the device under test,
// and a whole decoder dressed as a mixer, with tokens in and logits out.
#pragma once

#include <cstdint>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "nn/mixers/laws/mixer_laws.h"
#include "tests/support/close.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {

using Sizes = std::vector<std::int64_t>;
using Subject = LawSubject;

struct DecoderMixerState : MixerState {
  DecoderState state;

  std::size_t bytes() const override { return state.bytes(); }
  std::unique_ptr<MixerState> clone() const override {
    auto copy = std::make_unique<DecoderMixerState>();
    *static_cast<MixerState*>(copy.get()) = *this;  // NOLINT(cppcoreguidelines-slicing): the base's part alone
    copy->state = state.clone();
    return copy;
  }

 protected:
  void clear() override { state.reset(); }
};

class DecoderMixer : public MixerOf<DecoderMixerState> {
 public:
  explicit DecoderMixer(std::unique_ptr<Decoder> decoder) : decoder_(std::move(decoder)) {}
  Decoder& decoder() { return *decoder_; }
  std::string name() const override { return "decoder"; }
  std::string describe() const override { return "decoder"; }
  // On the device under test; the results come to the host.
  Tensor forward(const LayerInput& tokens) const override { return decoder_->logits(tokens.u()).to(kCpu); }
  double operations(std::int64_t) const override { return 0; }
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const override {
    std::size_t total = 0;
    for (std::size_t l = 0; l < decoder_->config().layers.size(); ++l) {
      total += decoder_->mixer(l).state_bytes(tokens, dtype);
    }
    return total;
  }

 protected:
  std::unique_ptr<DecoderMixerState> empty_state(std::int64_t batch, std::int64_t max_tokens,
                                                 Placement) const override {
    auto state = std::make_unique<DecoderMixerState>();
    state->state = decoder_->new_state(batch, max_tokens);
    return state;
  }
  Tensor continued(const LayerInput& tokens, DecoderMixerState& state, TokenPosition) const override {
    return decoder_->prefill(tokens.u(), state.state).to(kCpu);
  }

 private:
  std::unique_ptr<Decoder> decoder_;
};

inline LawSubject subject_of(const LayerForm& form, DType dtype, std::int64_t context = kContext) {
  return law_subject(form, {dtype, test_device()}, context);
}

// Tokens stay below the last one of the vocabulary, which stands for loud inputs. With `loud`, its vector is huge.
inline LawSubject subject_of(const DecoderForm& form, DType dtype, bool loud = false) {
  std::unique_ptr<Decoder> decoder = make_decoder(form.config, dtype);
  if (loud) {
    const Tensor table = decoder->parameters().find("embed.weight")->value;
    for (std::int64_t c = 0; c < kWidth; ++c) table.set((kVocabulary - 1) * kWidth + c, c % 3 == 0 ? 1e9 : -1e9);
  }
  LawSubject subject;
  subject.name = form.name + " " + dtype_name(dtype);
  subject.mixer = std::make_shared<DecoderMixer>(std::move(decoder));
  subject.dtype = dtype;
  subject.device = test_device();
  subject.context = form.config.context;
  subject.input = [](std::int64_t batch, std::int64_t steps, std::uint64_t seed) {
    return token_tensor(batch, steps, kVocabulary - 1, seed);
  };
  subject.loud_after = [](const Tensor& tokens, std::int64_t t) {
    const Tensor other = tokens.clone();
    for (std::int64_t i = 0; i < tokens.numel(); ++i) {
      if (i % tokens.dim(1) > t) other.set(i, static_cast<double>(kVocabulary - 1));
    }
    return other;
  };
  return subject;
}

inline std::string differs(const Tensor& got, const Tensor& want) { return differs(got, want, test_device()); }

template <class... Parts>
std::string text_of(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

}  // namespace mixgrad::test
