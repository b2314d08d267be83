// Training is reproducible to the bit, takes no new memory, and its gradients add up as they must.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/allocator.h"
#include "nn/mixers/laws/law_tensors.h"
#include "nn/training/optimizers/adamw.h"
#include "nn/training/train_step.h"
#include "tests/support/close.h"
#include "tests/support/mixer_laws.h"

namespace mixgrad::test {
namespace {

struct Batch {
  Tensor tokens;
  Tensor targets;
};

// The targets are a function of the tokens, so that there is something to learn.
Batch random_batch(std::int64_t batch, std::int64_t steps, std::uint64_t seed) {
  const Tensor tokens = token_tensor(batch, steps, kVocabulary, seed);
  const Tensor targets = tokens.clone();
  for (std::int64_t i = 0; i < targets.numel(); ++i) targets.set(i, std::fmod(3 * tokens.at(i) + 1, kVocabulary));
  return {tokens, targets};
}

Batch part_of(const Batch& all, std::int64_t begin, std::int64_t end) {
  return {all.tokens.slice(begin, end), all.targets.slice(begin, end)};
}

// What some steps of training leave behind.
struct Trained {
  Tensor parameters, m, v;
  std::vector<double> losses, norms;

  std::string differs_from(const Trained& other) const {
    if (losses != other.losses) return "the losses differ";
    if (norms != other.norms) return "the gradient norms differ";
    if (!parameters.equal_bits(other.parameters)) return "the parameters differ";
    return m.equal_bits(other.m) && v.equal_bits(other.v) ? "" : "the moments differ";
  }
};

Trained train(const ModelConfig& config, DType dtype, std::uint64_t seed, int threads_used, std::uint64_t steps = 20) {
  const Threads used(threads_used);
  Decoder model(config, dtype);
  model.parameters().initialize(seed);
  AdamW optimizer(model.parameters(), {});
  TrainStep step(model, optimizer);
  Trained result;
  for (std::uint64_t i = 0; i < steps; ++i) {
    // More rows than one task of any operator takes, and sizes that are no multiple of anything.
    const Batch batch = random_batch(11, 97, 100 * seed + i);
    const StepResult done = step.run(batch.tokens, batch.targets, 3e-3);
    result.losses.push_back(done.loss);
    result.norms.push_back(done.gradient_norm);
  }
  result.parameters = model.parameters().flat().clone();
  result.m = optimizer.first_moment().clone();
  result.v = optimizer.second_moment().clone();
  return result;
}

std::vector<DecoderForm> training_forms() {
  std::vector<DecoderForm> forms;
  const std::vector<std::string>& patterns = decoder_patterns();
  const auto form = [&](std::size_t p, Positions positions, Norm norm, Mlp mlp, bool tie, bool bias) {
    forms.push_back({patterns[p], decoder_config(patterns[p], positions, norm, mlp, tie, bias)});
    forms.back().config.context = 256;
  };
  form(1, Positions::rope, Norm::rmsnorm, Mlp::swiglu, false, false);
  form(9, Positions::rope, Norm::rmsnorm, Mlp::gelu, true, false);      // a shortcut, sequence
  form(11, Positions::none, Norm::layernorm, Mlp::gelu, true, true);    // a shortcut, depth
  form(6, Positions::learned, Norm::layernorm, Mlp::gelu, true, true);  // hsm scalar, hsm vector, attention
  return forms;
}

TEST_CASE("training: the same seed gives the same bits, with 1, 2 and 3 threads and twice") {
  for (const DecoderForm& form : training_forms()) {
    INFO(form.name);
    const Trained one = train(form.config, DType::f32, 1, 1);
    CHECK(std::isfinite(one.losses.back()));
    CHECK(one.losses.back() < one.losses.front() - 0.1);
    CHECK(train(form.config, DType::f32, 1, 1).differs_from(one) == kHolds);
    CHECK(train(form.config, DType::f32, 1, 2).differs_from(one) == kHolds);
    CHECK(train(form.config, DType::f32, 1, 3).differs_from(one) == kHolds);
  }
  const ModelConfig hybrid = training_forms().back().config;
  CHECK(train(hybrid, DType::f64, 1, 3, 5).differs_from(train(hybrid, DType::f64, 1, 1, 5)) == kHolds);
}

TEST_CASE("training: another seed gives other bits") {
  const OneThread one_thread;
  const DecoderForm form = training_forms().back();
  CHECK(train(form.config, DType::f32, 2, 1, 2).differs_from(train(form.config, DType::f32, 1, 1, 2)) != kHolds);
}

TEST_CASE("inference: logits and decoding give the same bits with 1 and 3 threads") {
  for (const DecoderForm& form : training_forms()) {
    INFO(form.name);
    const Tensor tokens = token_tensor(3, 211, kVocabulary, 1);
    const DecoderMixer mixer(make_decoder(form.config, DType::f32));
    const auto decode = [&] { return in_pieces(mixer, tokens, *mixer.new_state(3, 211, DType::f32), {200, 7, 1}); };
    const OneThread one_thread;
    const Tensor logits = mixer.forward(tokens);
    const Tensor decoded = decode();
    const Threads three_threads(3);
    CHECK(mixer.forward(tokens).equal_bits(logits));
    CHECK(decode().equal_bits(decoded));
  }
}

TEST_CASE("training: from the second step on the pool does not grow") {
  const OneThread one_thread;
  for (const DecoderForm& form : training_forms()) {
    for (const std::int64_t parts : {1, 2}) {
      INFO(form.name << ", micro-batches: " << parts);
      const Batch batch = random_batch(2, 32, 7);
      const auto model = make_decoder(form.config, DType::f32);
      AdamW optimizer(model->parameters(), {});
      TrainStep step(*model, optimizer);
      const auto run = [&] {
        for (std::int64_t part = 0; part < parts; ++part)
          step.accumulate(batch.tokens, batch.targets, static_cast<double>(parts));
        step.apply(1e-3);
      };
      pool_trim(kCpu);
      const std::int64_t begin = pool_stats(kCpu).system_allocations;
      run();
      const PoolStats first = pool_stats(kCpu);
      CHECK(first.system_allocations > begin);
      for (int i = 0; i < 5; ++i) run();
      const PoolStats last = pool_stats(kCpu);
      CHECK(last.system_allocations == first.system_allocations);
      CHECK(last.in_use == first.in_use);
      CHECK(last.cached == first.cached);
    }
  }
}

TEST_CASE("decoding: from the second token on the pool does not grow") {
  const OneThread one_thread;
  for (const DecoderForm& form : training_forms()) {
    INFO(form.name);
    const auto model = make_decoder(form.config, DType::f32);
    const Tensor token = token_tensor(1, 1, kVocabulary, 3);
    pool_trim(kCpu);
    DecoderState state = model->new_state(1, 256);
    model->step(token, state);
    const PoolStats first = pool_stats(kCpu);
    const int more = form.config.positions == Positions::rope ? 60 : 255;  // its table of angles doubles at 64 tokens
    for (int i = 0; i < more; ++i) model->step(token, state);
    const PoolStats last = pool_stats(kCpu);
    CHECK(last.system_allocations == first.system_allocations);
    CHECK(last.in_use == first.in_use);
  }
}

// Gradients of `parts` micro-batches, and the mean of their losses.
Tensor accumulated(Decoder& model, const Batch& all, std::int64_t parts, double& loss) {
  AdamW optimizer(model.parameters(), {});
  TrainStep step(model, optimizer);
  const std::int64_t size = all.tokens.dim(0) / parts;
  loss = 0;
  for (std::int64_t i = 0; i < parts; ++i) {
    const Batch part = part_of(all, i * size, (i + 1) * size);
    loss += step.accumulate(part.tokens, part.targets, static_cast<double>(parts)) / static_cast<double>(parts);
  }
  return step.gradients().flat().clone();
}

TEST_CASE("accumulation: micro-batches of B/2 or B/4 have the gradient of one batch of B") {
  const OneThread one_thread;
  for (const DecoderForm& form : decoder_forms()) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      INFO(form.name << " " << std::string(dtype_name(dtype)));
      const auto model = make_decoder(form.config, dtype);
      const Batch batch = random_batch(4, 9, 3);
      for (std::int64_t b = 0; b < 4; ++b) batch.targets.set(b * 9 + b, -1);  // as many in each part
      double want_loss = 0;
      double loss = 0;
      const Tensor want = accumulated(*model, batch, 1, want_loss);
      for (const std::int64_t parts : {2, 4}) {
        CHECK(differs(accumulated(*model, batch, parts, loss), want) == kHolds);
        CHECK(std::abs(loss - want_loss) < law_tolerance(dtype, test_device()) * want_loss);
      }
    }
  }
}

TEST_CASE("accumulation: after a step the gradients begin anew") {
  const OneThread one_thread;
  const auto model = make_decoder(decoder_forms()[24].config, DType::f32);
  AdamW optimizer(model->parameters(), {});
  TrainStep step(*model, optimizer);
  const Batch batch = random_batch(2, 9, 3);
  step.accumulate(batch.tokens, batch.targets);
  const Tensor first = step.gradients().flat().clone();
  step.apply(0);  // moves nothing
  step.accumulate(batch.tokens, batch.targets);
  CHECK(step.gradients().flat().equal_bits(first));
  step.accumulate(batch.tokens, batch.targets);
  const Tensor twice = Tensor::empty(first.shape(), DType::f64);
  for (std::int64_t i = 0; i < first.numel(); ++i) twice.set(i, 2 * first.at(i));
  CHECK(not_close_to_scale(step.gradients().flat(), twice, 1e-6, largest_of(twice)) == kHolds);
}

TEST_CASE("tied embeddings: the gradient is the sum of the head's and the embedding's") {
  const OneThread one_thread;
  for (const DecoderForm& form : decoder_forms()) {
    INFO(form.name);
    ModelConfig config = form.config;
    config.tie_embeddings = true;
    const auto tied = make_decoder(config, DType::f64);
    config.tie_embeddings = false;
    const auto untied = make_decoder(config, DType::f64);
    ParameterSet& one = tied->parameters();
    ParameterSet& two = untied->parameters();
    for (std::size_t i = 0; i < two.size(); ++i) {
      two[i].value.copy_from(one.find(two[i].name == "head.weight" ? "embed.weight" : two[i].name)->value);
    }
    REQUIRE(two.size() == one.size() + 1);
    const Batch batch = random_batch(2, 9, 3);
    const auto gradients_of = [&](Decoder& model) {
      Tape tape;
      model.parameters().watch(tape);
      Gradients gradients = model.parameters().new_gradients();
      std::move(tape).backward(model.loss(batch.tokens, batch.targets), gradients);
      return gradients;
    };
    const Gradients of_tied = gradients_of(*tied);
    const Gradients of_untied = gradients_of(*untied);
    for (std::size_t i = 0; i < one.size(); ++i) {
      INFO(one[i].name);
      REQUIRE(two[i].name == one[i].name);
      if (one[i].name != "embed.weight") {
        CHECK(of_tied.of(i).equal_bits(of_untied.of(i)));
        continue;
      }
      const Tensor sum = of_untied.of(i).clone();
      const Tensor& head = of_untied.of(two.size() - 1);
      REQUIRE(two[two.size() - 1].name == "head.weight");
      for (std::int64_t e = 0; e < sum.numel(); ++e) sum.set(e, sum.at(e) + head.at(e));
      CHECK(largest_of(head) > 0);
      CHECK(not_close_to_scale(of_tied.of(i), sum, 1e-14, largest_of(sum)) == kHolds);
    }
  }
}

TEST_CASE("tied embeddings count once in the gradient norm") {
  const OneThread one_thread;
  const auto model = make_decoder(decoder_forms()[0].config, DType::f64);
  REQUIRE(model->config().tie_embeddings);
  AdamW optimizer(model->parameters(), {});
  TrainStep step(*model, optimizer);
  const Batch batch = random_batch(2, 9, 3);
  step.accumulate(batch.tokens, batch.targets);
  double squares = 0;
  for (std::size_t i = 0; i < model->parameters().size(); ++i) {
    for (const double g : step.gradients().of(i).to_vector()) squares += g * g;
  }
  CHECK(std::abs(step.apply(0) - std::sqrt(squares)) < 1e-14 * std::sqrt(squares));
}

}  // namespace
}  // namespace mixgrad::test
