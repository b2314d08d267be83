// Decoding sessions: on CUDA a step is a replayed graph and gives the bits of its kernels called one by one, wherever
// the sequence stands; nothing is copied, allocated or computed on the host for it.
#include "nn/model/step_graph.h"

#include <doctest/doctest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "core/allocator.h"
#include "core/cuda/cuda.h"
#include "core/dispatch/dispatch.h"
#include "core/error.h"
#include "nn/model/generator.h"
#include "tests/support/close.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {
namespace {

// Tokens [begin,end) of each sequence.
Tensor some_tokens(const Tensor& tokens, std::int64_t begin, std::int64_t end) {
  const Tensor some = Tensor::empty({tokens.dim(0), end - begin}, DType::i32);
  for (std::int64_t i = 0; i < some.numel(); ++i) {
    some.set(i, tokens.at(i / some.dim(1) * tokens.dim(1) + begin + i % some.dim(1)));
  }
  return some;
}

// A session and a state that goes the same way by Decoder::prefill alone.
struct Pair {
  const Decoder& model;
  DecodingSession session;
  DecoderState state;
  std::string difference;  // the first, "" when there is none

  Pair(const Decoder& decoder, std::int64_t batch)
      : model(decoder), session(decoder, batch, kContext), state(decoder.new_state(batch, kContext)) {}

  void compare(const Tensor& got, const Tensor& want) {
    if (difference.empty() && !got.equal_bits(want)) difference = "at token " + std::to_string(state.position());
    if (session.state().position() != state.position()) difference = "in their positions";
  }
  void steps(const Tensor& tokens, std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const Tensor token = some_tokens(tokens, t, t + 1);
      const Tensor got = session.step(token);
      compare(got, model.prefill(token, state));
    }
  }
  void prefill(const Tensor& tokens, std::int64_t begin, std::int64_t end) {
    const Tensor part = some_tokens(tokens, begin, end);
    const Tensor got = session.prefill(part);
    compare(got, model.prefill(part, state));
  }
  void reset() {
    session.reset();
    state.reset();
  }
};

const std::string kSame;

TEST_CASE("decoding session: steps, pieces and resets give what Decoder::prefill gives, bit for bit, for every model") {
  const OneThread one_thread;
  for (const DecoderForm& form : decoder_forms()) {
    const bool learned = form.config.positions == Positions::learned;
    const std::int64_t length = learned ? kContext : 3 * kContext;
    const Tensor tokens = token_tensor(2, length, kVocabulary, 4);
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      if (!test_device().is_cuda() && dtype != DType::f32) continue;  // there it is the same call
      INFO(form.name << " " << std::string(dtype_name(dtype)));
      const auto decoder = make_decoder(form.config, dtype);
      Pair pair(*decoder, 2);
      pair.steps(tokens, 0, length);
      CHECK(pair.difference == kSame);
      pair.reset();  // the graph starts anew, then behind and between pieces
      pair.steps(tokens, 0, 3);
      pair.prefill(tokens, 3, 10);
      pair.steps(tokens, 10, 20);
      pair.prefill(tokens, 20, 25);
      pair.steps(tokens, 25, 27);
      CHECK(pair.difference == kSame);
      DecoderState copy = pair.session.state().clone();
      const Tensor next = some_tokens(tokens, 27, 28);
      CHECK(pair.session.step(next).equal_bits(decoder->step(next, copy)));
      CHECK(copy.position() == 28);
      CHECK((pair.session.graph_nodes() > 0) == test_device().is_cuda());
      CHECK(pair.session.captures() == (test_device().is_cuda() ? 1 : 0));
    }
  }
}

TEST_CASE(
    "decoding session: a token outside the vocabulary, the end of learned positions and other shapes are refused") {
  const auto decoder =
      make_decoder(decoder_config("attention", Positions::learned, Norm::layernorm, Mlp::gelu, true, true), DType::f32);
  const Tensor tokens = token_tensor(2, kContext, kVocabulary, 4);
  Pair pair(*decoder, 2);
  pair.steps(tokens, 0, 5);
  const auto text = [&](const Tensor& token) { return error_text<Error>([&] { pair.session.step(token); }); };
  CHECK(text(Tensor::from_i32(std::vector<std::int32_t>{2, 11}, {2, 1})) ==
        "embedding: tokens must be in [0,11), got 11 at index 1");
  CHECK(text(some_tokens(tokens, 0, 2)) ==
        "decoding session: a step takes one token of each sequence, [B,1], got [2,2]; prefill takes more");
  CHECK(text(Tensor::zeros({3, 1}, DType::i32)) ==
        "decoder: the state must come from this decoder's new_state, with the batch of tokens [3,1]");
  CHECK(pair.session.state().position() == 5);
  pair.steps(tokens, 5, kContext);
  CHECK(text(some_tokens(tokens, 0, 1)) ==
        "decoder: with learned positions at most 40 tokens can be decoded, got 40 + 1; restart the state from the last "
        "tokens");
  CHECK(pair.difference == kSame);
}

TEST_CASE("decoding session: tokens of many sequences, on either device and as a column of a longer tensor") {
  const auto decoder = make_decoder(decoder_forms()[8].config, DType::f32);
  const Tensor tokens = token_tensor(150, 6, kVocabulary, 4);
  Pair pair(*decoder, 150);
  pair.steps(tokens, 0, 4);
  CHECK(pair.difference == kSame);
  DecoderState copy = pair.session.state().clone();
  const Tensor want = decoder->step(some_tokens(tokens, 4, 5), copy);
  CHECK(pair.session.step(some_tokens(tokens, 4, 5).to(test_device())).equal_bits(want));
  if (!test_device().is_cuda()) return;  // operators of the CPU take whole tokens only
  const Tensor last = decoder->step(some_tokens(tokens, 5, 6), copy);
  CHECK(pair.session.step(tokens.column_view(5, 6)).equal_bits(last));
}

TEST_CASE("generator: its tokens are those of steps one by one, also where learned positions start again") {
  for (const Positions positions : {Positions::none, Positions::rope, Positions::learned}) {
    INFO(to_string(positions));
    ModelConfig config =
        decoder_config("attention,hsm:vector(heads=4)", positions, Norm::rmsnorm, Mlp::swiglu, true, true);
    config.context = 8;
    const auto decoder = make_decoder(config, DType::f32);
    Generator generator(*decoder, kVocabulary, {}, 7);
    std::vector<std::int32_t> seen{3, 1, 4};
    generator.prompt(seen);
    DecoderState state = decoder->new_state(1, 8);
    const auto consume = [&](const std::vector<std::int32_t>& ids) {
      const auto length = static_cast<std::int64_t>(ids.size());
      const std::vector<double> all = decoder->prefill(Tensor::from_i32(ids, {1, length}), state).to_vector();
      return std::vector<double>(all.end() - kVocabulary, all.end());
    };
    Rng rng(7);
    std::vector<double> logits = consume(seen);
    for (int i = 0; i < 40; ++i) {
      const std::int32_t want = sample_token(logits, {}, rng);
      CHECK(generator.next() == want);
      seen.push_back(want);
      if (positions == Positions::learned && state.position() == 8) {
        state.reset();
        seen.erase(seen.begin(), seen.end() - 4);
        logits = consume(seen);
      } else {
        logits = consume({want});
      }
    }
  }
}

// On a CUDA device the first draws there, the second on the host.
TEST_CASE("batch generator: the same tokens with and without log-probabilities, for prompts of any length") {
  for (const Positions positions : {Positions::none, Positions::rope, Positions::learned}) {
    INFO(to_string(positions));
    ModelConfig config =
        decoder_config("attention,hsm:vector(heads=4)", positions, Norm::rmsnorm, Mlp::swiglu, true, true);
    config.context = 8;
    const auto decoder = make_decoder(config, DType::f32);
    for (const SamplingOptions& options :
         {SamplingOptions{.temperature = 0}, {}, {.temperature = 1.5, .top_k = 6, .top_p = 0.9, .min_p = 0.1}}) {
      BatchGenerator one(*decoder, kVocabulary, options, {7, 8, 9});
      BatchGenerator other(*decoder, kVocabulary, options, {7, 8, 9}, BatchGenerator::LogProbabilities::yes);
      for (BatchGenerator* generator : {&one, &other}) generator->prompt({{3, 1, 4}, {1}, {2, 7, 1, 8, 2, 8, 1, 8, 2}});
      for (int i = 0; i < 30; ++i) {
        const auto first = one.next();
        const auto second = other.next();
        for (std::size_t b = 0; b < 3; ++b) CHECK(first[b].id == second[b].id);
      }
    }
  }
}

#if defined(MIXGRAD_CUDA)

bool on_cuda() {
  if (test_device().is_cuda()) return true;
  std::fputs("ABSENT: graphs of decoding steps need MIXGRAD_DEVICE=cuda\n", stderr);
  return false;
}

TEST_CASE("step graph: a replayed step copies nothing to the host, runs no CPU kernel and takes no memory") {
  if (!on_cuda()) return;
  for (const std::string& pattern : decoder_patterns()) {
    INFO(pattern);
    const auto decoder =
        make_decoder(decoder_config(pattern, Positions::rope, Norm::layernorm, Mlp::gelu, true, true), DType::bf16);
    const Tensor tokens = token_tensor(2, 60, kVocabulary, 4);
    std::vector<Tensor> each;
    for (std::int64_t t = 0; t < 60; ++t) each.push_back(some_tokens(tokens, t, t + 1));
    DecodingSession session(*decoder, 2, kContext);
    for (std::size_t t = 0; t < 2; ++t) session.step(each[t]);
    const void* logits = session.step(each[2]).raw();
    const std::int64_t copies = cuda::copies_to_host();
    const std::int64_t kernels = cpu_kernel_calls;
    const PoolStats device = pool_stats(test_device());
    const PoolStats host = pool_stats(kCpu);
    for (std::size_t t = 3; t < 60; ++t) CHECK(session.step(each[t]).raw() == logits);
    CHECK(cuda::copies_to_host() == copies);
    CHECK(cpu_kernel_calls == kernels);
    CHECK(pool_stats(test_device()).system_allocations == device.system_allocations);
    CHECK(pool_stats(test_device()).in_use == device.in_use);
    CHECK(pool_stats(kCpu).system_allocations == host.system_allocations);
    CHECK(session.captures() == 1);
    CHECK(session.state().position() == 60);
  }
}

TEST_CASE(
    "step graph: with rotary positions it is captured again when the table of angles grows, and not after a reset") {
  if (!on_cuda()) return;
  for (const char* pattern : {"attention(kv_heads=2)", "attention,attention;0,1(hidden=5)"}) {
    INFO(std::string(pattern));
    const auto decoder =
        make_decoder(decoder_config(pattern, Positions::rope, Norm::layernorm, Mlp::gelu, true, true), DType::f32);
    const Tensor tokens = token_tensor(1, 600, kVocabulary, 4);
    Pair pair(*decoder, 1);
    pair.steps(tokens, 0, 600);
    CHECK(pair.difference == kSame);
    CHECK(pair.session.captures() == 3);  // for 256, 512 and 1024 positions
    pair.reset();
    pair.steps(tokens, 0, 50);
    CHECK(pair.difference == kSame);
    CHECK(pair.session.captures() == 3);
    Pair behind(*decoder, 1);  // its first step is far from the start
    for (std::int64_t t = 0; t < 500; t += 25) behind.prefill(tokens, t, t + 25);
    behind.steps(tokens, 500, 520);
    CHECK(behind.difference == kSame);
    CHECK(behind.session.captures() == 2);
  }
}

#endif

}  // namespace
}  // namespace mixgrad::test
