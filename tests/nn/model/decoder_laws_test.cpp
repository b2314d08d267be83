// The laws of mixers on whole decoders: pure and hybrid patterns, every kind of position, norm and MLP, tied and
// untied.
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "autograd/gradcheck.h"
#include "core/error.h"
#include "tests/support/mixer_laws.h"

namespace mixgrad::test {
namespace {

template <class Law>
void for_every_decoder(const Law& law) {
  for (const DecoderForm& form : decoder_forms()) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      INFO(form.name << " " << std::string(dtype_name(dtype)));
      CHECK(law(form, dtype) == kHolds);
    }
  }
}

TEST_CASE("decoders: the forms under test hold every pair of choices") {
  std::set<std::string> pairs;
  for (const DecoderForm& form : decoder_forms()) {
    const ModelConfig& c = form.config;
    const std::vector<std::string> choices{"pattern " + form.name.substr(0, form.name.find(' ')),
                                           to_string(c.positions),
                                           to_string(c.norm),
                                           "mlp " + to_string(c.mlp),
                                           c.tie_embeddings ? "tied" : "untied",
                                           c.bias ? "bias" : "no bias"};
    for (std::size_t i = 0; i < choices.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) pairs.insert(choices[i] + ", " + choices[j]);
    }
  }
  const std::size_t sizes[] = {decoder_patterns().size(), 3, 2, enum_names<Mlp>().size(), 2, 2};
  std::size_t want = 0;
  for (int i = 0; i < 6; ++i) {
    for (int j = 0; j < i; ++j) want += sizes[i] * sizes[j];
  }
  CHECK(pairs.size() == want);
}

TEST_CASE("decoders: a large change of later tokens leaves earlier logits as they are, bit for bit") {
  const OneThread one_thread;
  for (const std::int64_t length : {2, 7, 33}) {
    for_every_decoder(
        [&](const DecoderForm& form, DType dtype) { return not_causal(subject_of(form, dtype, true), length); });
  }
}

// The gradient of the hidden vector at time t to the vectors of tokens and positions that come later.
std::string gradient_sees_later_tokens(const DecoderForm& form, DType dtype) {
  constexpr std::int64_t kSteps = 7;
  const auto decoder = make_decoder(form.config, dtype);
  ParameterSet& parameters = decoder->parameters();
  // Token t at time t: every row of the table is used at one time only.
  const Tensor tokens = Tensor::from_i32(std::vector<std::int32_t>{0, 1, 2, 3, 4, 5, 6}, {1, kSteps});
  for (std::int64_t t = 0; t < kSteps; ++t) {
    Tape tape;
    parameters.watch(tape);
    const Tensor hidden = decoder->hidden(tokens);
    const Tensor cotangent = normal_tensor(hidden.shape(), dtype, 8);
    for (std::int64_t i = 0; i < cotangent.numel(); ++i) {
      if (i / kWidth != t) cotangent.set(i, 0);
    }
    Gradients gradients = parameters.new_gradients();
    const Tape::Seed seed{hidden, cotangent.to(hidden.device())};
    std::move(tape).backward(std::span(&seed, 1), gradients);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (parameters[i].name != "embed.weight" && parameters[i].name != "pos.weight") continue;
      const Tensor& gradient = gradients.of(i);
      if (largest_of(gradient.slice(t, t + 1)) == 0) return text_of(parameters[i].name, ": no gradient at time ", t);
      if (largest_of(gradient.slice(t + 1, gradient.dim(0))) != 0) {
        return text_of(parameters[i].name, ": the output at time ", t, " has a gradient to later rows");
      }
    }
  }
  return {};
}

TEST_CASE("decoders: the gradient of an output to later tokens is exactly zero") {
  const OneThread one_thread;
  for_every_decoder(gradient_sees_later_tokens);
}

TEST_CASE("decoders: prefill of the first k tokens, then steps or pieces of three, is forward, for every k") {
  const OneThread one_thread;
  for (const std::int64_t length : {1, 2, 7, 17}) {
    for_every_decoder(
        [&](const DecoderForm& form, DType dtype) { return pieces_differ(subject_of(form, dtype), length); });
  }
}

TEST_CASE("decoders: prefill and steps are forward around the length of 33, at the block of attention's queries") {
  const OneThread one_thread;
  for_every_decoder([](const DecoderForm& form, DType dtype) -> std::string {
    const Subject s = subject_of(form, dtype);
    const Tensor x = s.input(2, 33, 2);
    const Tensor y = s.mixer->forward(x);
    for (const Sizes& sizes : {Sizes{1}, {16, 1}, {31, 1}, {32, 1}, {33}, {3}, {30, 3}}) {
      const std::string text = differs(in_pieces(*s.mixer, x, *s.new_state(2, 33), sizes), y);
      if (!text.empty()) return text_of("first ", sizes[0], ": ", text);
    }
    return {};
  });
}

TEST_CASE("decoders: the sequences of a batch do not see each other, bit for bit") {
  const OneThread one_thread;
  for_every_decoder([](const DecoderForm& form, DType dtype) { return rows_depend(subject_of(form, dtype), 7); });
}

TEST_CASE("decoders: a state has the documented bytes, the sum over its layers") {
  for_every_decoder(
      [](const DecoderForm& form, DType dtype) { return state_size_differs(subject_of(form, dtype), 3); });
}

TEST_CASE("decoders: clones are independent, and a state after reset is as new, bit for bit") {
  const OneThread one_thread;
  for_every_decoder([](const DecoderForm& form, DType dtype) { return states_depend(subject_of(form, dtype), 5, 6); });
}

TEST_CASE(
    "decoders: beyond the context every softmax layer keeps a window, HSM all of it; equal to forward so masked") {
  const OneThread one_thread;
  for (DecoderForm form : decoder_forms()) {
    if (form.config.positions == Positions::learned) continue;
    form.config.context = 8;
    for (const DType dtype : {DType::f64, DType::f32}) {
      INFO(form.name << " " << std::string(dtype_name(dtype)));
      const auto decoder = make_decoder(form.config, dtype);
      const Tensor tokens = token_tensor(2, 29, kVocabulary, 4);
      const Tensor want = decoder->logits(tokens, 8);
      const DecoderMixer mixer(make_decoder(form.config, dtype));
      for (const Sizes& sizes : {Sizes{1}, {29}, {8, 1}, {7, 2}, {9, 1}, {5, 20, 4}, {3}, {16, 13}}) {
        const auto state = mixer.new_state(2, 1000, dtype);
        CHECK(differs(in_pieces(mixer, tokens, *state, sizes), want) == kHolds);
        CHECK(state->position() == 29);
      }
    }
  }
}

TEST_CASE("decoders: forward refuses a sequence longer than the context, unless it is windowed") {
  ModelConfig config = decoder_config("attention", Positions::rope, Norm::layernorm, Mlp::gelu, true, true);
  config.context = 8;
  const Tensor tokens = token_tensor(1, 9, kVocabulary, 1);
  const std::string text = "decoder: a sequence must have 1 to 8 tokens (the model's context), got 9";
  CHECK(error_text<ShapeError>([&] { make_decoder(config, DType::f32)->logits(tokens); }) == text);
  CHECK(make_decoder(config, DType::f32)->logits(tokens, 8).dim(1) == 9);
  config.positions = Positions::learned;
  CHECK(error_text<ShapeError>([&] { make_decoder(config, DType::f32)->logits(tokens); }) == text);
  CHECK(error_text<ShapeError>([&] { make_decoder(config, DType::f32)->logits(tokens, 8); }) == text);
}

TEST_CASE("decoders: 10,000 tokens of a whole shift-mixing model take no more memory than the first ones") {
  const OneThread one_thread;
  const std::string pattern = "hsm:scalar(heads=4),hsm:vector,hsm:matrix,hsm:gate_single,hsm:gate_double,hsm:fusion";
  const ModelConfig config = decoder_config(pattern, Positions::none, Norm::rmsnorm, Mlp::swiglu, true, false);
  const auto decoder = make_decoder(config, DType::f32);
  DecoderState state = decoder->new_state(1, kContext);
  const auto advance = [&](int tokens) {
    for (int i = 0; i < tokens; ++i) decoder->step(token_tensor(1, 1, kVocabulary, 1), state);
  };
  advance(100);
  const std::size_t bytes = state.bytes();
  const PoolStats before = pool_stats(test_device());
  advance(9900);
  const PoolStats after = pool_stats(test_device());
  CHECK(state.position() == 10000);
  CHECK(state.bytes() == bytes);
  CHECK(after.in_use == before.in_use);
  CHECK(after.system_allocations == before.system_allocations);
}

TEST_CASE("decoders: a context of one token is enough for every shift-mixing variant") {
  for (const std::string& variant : enum_names<HsmVariant>()) {
    for (const char* schedule : {"doubling", "reversed", "per_head"}) {
      INFO(variant << " " << std::string(schedule));
      ModelConfig config = decoder_config("attention", Positions::none, Norm::layernorm, Mlp::gelu, true, true);
      config.context = 1;
      config.layers = expand_mixer_pattern("hsm:" + variant + "(heads=2,schedule=" + schedule + ")",
                                           {.layers = 2, .context = 1, .d_model = kWidth});
      const auto decoder = make_decoder(config, DType::f64);
      const Tensor tokens = token_tensor(3, 1, kVocabulary, 1);
      DecoderState state = decoder->new_state(3, 1);
      CHECK(differs(decoder->prefill(tokens, state), decoder->logits(tokens)) == kHolds);
      Tape tape;
      decoder->parameters().watch(tape);
      const Gradients gradients = std::move(tape).backward(decoder->loss(tokens, tokens));
      CHECK(std::isfinite(largest_of(gradients.of(0))));
    }
  }
}

TEST_CASE("decoders: learned positions end at the context with a clear error, and the state stays usable") {
  for (const std::string& pattern : decoder_patterns()) {
    INFO(pattern);
    ModelConfig config = decoder_config(pattern, Positions::learned, Norm::layernorm, Mlp::gelu, true, true);
    config.context = 8;
    const auto decoder = make_decoder(config, DType::f64);
    const Tensor tokens = token_tensor(2, 9, kVocabulary, 4);
    const Tensor want = decoder->logits(time_slice(tokens, 0, 8));
    DecoderState state = decoder->new_state(2, 100);
    decoder->prefill(time_slice(tokens, 0, 6), state);
    CHECK(error_text<ValueError>([&] { decoder->prefill(time_slice(tokens, 6, 9), state); }) ==
          "decoder: with learned positions at most 8 tokens can be decoded, got 6 + 3; restart the state from the last "
          "tokens");
    CHECK(state.position() == 6);
    const Tensor got = decoder->prefill(time_slice(tokens, 6, 8), state);
    CHECK(differs(got, time_slice(want, 6, 8)) == kHolds);
    CHECK(error_text<ValueError>([&] { decoder->step(time_slice(tokens, 8, 9), state); }) ==
          "decoder: with learned positions at most 8 tokens can be decoded, got 8 + 1; restart the state from the last "
          "tokens");
  }
}

TEST_CASE("decoders: a token outside the vocabulary is refused, and the state stays usable") {
  const auto decoder = make_decoder(decoder_forms()[24].config, DType::f64);
  const Tensor tokens = token_tensor(1, 5, kVocabulary, 4);
  DecoderState state = decoder->new_state(1, 10);
  const Tensor first = decoder->prefill(time_slice(tokens, 0, 3), state);
  const Tensor wrong = Tensor::from_i32(std::vector<std::int32_t>{2, 11}, {1, 2});
  CHECK(error_text<ValueError>([&] { decoder->prefill(wrong, state); }) ==
        "embedding: tokens must be in [0,11), got 11 at index 1");
  CHECK(state.position() == 3);
  CHECK(differs(decoder->prefill(time_slice(tokens, 3, 5), state), time_slice(decoder->logits(tokens), 3, 5)) ==
        kHolds);
}

TEST_CASE("decoders: a state that an exception left torn is refused until it is reset") {
  const auto decoder = make_decoder(decoder_forms()[24].config, DType::f64);
  const Tensor tokens = token_tensor(1, 5, kVocabulary, 4);
  DecoderState state = decoder->new_state(1, 10);
  decoder->prefill(time_slice(tokens, 0, 3), state);
  state.mixers.back()->reset();  // as if the others had gone on and this one had not
  CHECK(error_text<ValueError>([&] { decoder->prefill(time_slice(tokens, 3, 5), state); }) ==
        "decoder: every mixer of the state must have consumed 3 tokens, one has 0: an earlier call failed half-way; "
        "reset() the state");
  state.reset();
  CHECK(differs(decoder->prefill(tokens, state), decoder->logits(tokens)) == kHolds);
}

TEST_CASE("decoders: decoding and probes under a tape that watches the parameters are errors") {
  const auto decoder = make_decoder(decoder_forms()[0].config, DType::f64);
  const Tensor tokens = token_tensor(1, 5, kVocabulary, 4);
  DecoderState state = decoder->new_state(1, 10);
  Tape tape;
  decoder->prefill(tokens, state);  // watches nothing: nothing could be lost
  decoder->parameters().watch(tape);
  const std::string end = " is not differentiable, but a tape watches the parameters; call it outside the tape's scope";
  CHECK(error_text<GradError>([&] { decoder->prefill(tokens, state); }) == "decoder: prefill" + end);
  CHECK(error_text<GradError>([&] { decoder->recency(tokens, 2); }) == "decoder: recency" + end);
}

TEST_CASE("decoders: a state of another batch or another decoder is refused") {
  const auto two = make_decoder(decoder_forms()[0].config, DType::f64);
  const auto three = make_decoder(
      decoder_config("attention,attention,attention", Positions::rope, Norm::rmsnorm, Mlp::gelu, true, true),
      DType::f64);
  const auto text = [&](std::int64_t batch, DecoderState state) {
    return error_text<ValueError>([&] { two->prefill(token_tensor(batch, 3, 5, 1), state); });
  };
  const std::string want = "decoder: the state must come from this decoder's new_state, with the batch of tokens [";
  CHECK(text(2, two->new_state(3, 8)) == want + "2,3]");
  CHECK(text(1, three->new_state(1, 8)) == want + "1,3]");
  CHECK(text(1, DecoderState()) == want + "1,3]");
}

TEST_CASE("decoders: the gradient of the loss is that of differences along 20 directions and each parameter's own") {
  const OneThread one_thread;
  std::size_t n = 0;
  for (const DecoderForm& form : decoder_forms()) {
    if (n++ % 3 == 1) continue;
    INFO(form.name);
    const auto decoder = make_decoder(form.config, DType::f64);
    ParameterSet& parameters = decoder->parameters();
    std::vector<Tensor> inputs;
    GradcheckDirectionOptions options;
    options.tolerance = 1e-7;
    options.directions = 20;
    options.device = test_device();
    if (form.config.mlp == Mlp::relu) options.first_step = 2e-4;  // else the differences step over kinks
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      inputs.push_back(parameters[i].value.clone());
      options.names.push_back(parameters[i].name);
    }
    const Tensor tokens = token_tensor(2, 6, kVocabulary, 1);
    const Tensor targets = token_tensor(2, 6, kVocabulary, 2);
    targets.set(3, -1);
    const GradcheckReport report = gradcheck_direction(
        inputs,
        [&](std::span<const Tensor> in) {
          for (std::size_t i = 0; i < in.size(); ++i) parameters[i].value = in[i];
          return std::vector{decoder->loss(tokens, targets)};
        },
        options);
    CHECK(report.rows.size() == 20 + inputs.size());
    CHECK(report.failures() == kHolds);
    for (const GradcheckRow& row : report.rows) {
      INFO(row.input);
      CHECK_FALSE(row.vacuous);
    }
  }
}

}  // namespace
}  // namespace mixgrad::test
