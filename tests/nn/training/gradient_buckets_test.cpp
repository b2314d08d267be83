// The pieces in which gradients are summed over ranks: each is sent once, and when it is sent, nothing is added to it
// any more; for every mixer, tied embeddings, several micro-batches, recomputed layers and frozen parameters.
#include "nn/training/gradient_buckets.h"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

#include "autograd/recompute.h"
#include "nn/modules/freeze.h"
#include "ops/elementwise/elementwise.h"
#include "ops/linear/linear.h"
#include "tests/support/mixer_laws.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {
namespace {

struct Sent {
  Tensor piece, copy;  // of the flat buffer, and what it held when it was sent
};

struct Pass {
  std::vector<std::vector<Sent>> pieces;
  std::size_t before_the_end = 0;  // pieces that were sent while backward still ran
};

// Runs `backward` under a watch.
template <class Backward>
Pass watched(GradientBuckets& buckets, const Gradients& gradients, const Backward& backward) {
  Pass pass;
  GradientBuckets::Watch watch(buckets, gradients, [&](std::span<const GradientBuckets::Part> parts) {
    std::vector<Sent>& sent = pass.pieces.emplace_back();
    for (const auto& [begin, end] : parts) {
      const Tensor part = gradients.flat().slice(begin, end);
      sent.push_back({part, part.clone()});
    }
  });
  backward();
  pass.before_the_end = pass.pieces.size();
  watch.finish();
  return pass;
}

// Every number of a gradient that has arrived is in one piece, and the pieces hold what backward ended with.
void check_complete(const Pass& pass, const Gradients& gradients, const FlatLayout& layout, std::int64_t most) {
  std::vector<int> times(static_cast<std::size_t>(layout.total), 0);
  for (const std::vector<Sent>& piece : pass.pieces) {
    std::int64_t count = 0;
    for (const Sent& part : piece) {
      CHECK(part.copy.equal_bits(part.piece));
      const auto* begin = static_cast<const std::byte*>(part.piece.raw());
      const auto bytes = static_cast<std::size_t>(begin - static_cast<const std::byte*>(gradients.flat().raw()));
      const std::size_t first = bytes / dtype_bytes(gradients.flat().dtype());
      for (std::int64_t i = 0; i < part.piece.numel(); ++i) ++times[first + static_cast<std::size_t>(i)];
      count += part.piece.numel();
    }
    CHECK(count <= most);
  }
  for (std::size_t leaf = 0; leaf < layout.offsets.size(); ++leaf) {
    for (std::int64_t i = 0; i < layout.shapes[leaf].numel(); ++i) {
      const int wanted = gradients.arrived(leaf) ? 1 : 0;
      REQUIRE(times[static_cast<std::size_t>(layout.offsets[leaf] + i)] == wanted);
    }
  }
}

struct HowWatched {
  Intermediates intermediates = Intermediates::kept;
  int parts = 1;
  std::vector<std::string> frozen = {};
  std::int64_t most = 500;
};

void check_decoder(const ModelConfig& config, const HowWatched& how) {
  const std::unique_ptr<Decoder> model = make_decoder(config, DType::f32);
  freeze(model->parameters(), how.frozen);
  const RecomputeScope scope(how.intermediates);
  const FlatLayout layout(model->parameters().shapes());
  GradientBuckets buckets(layout, how.most);
  Gradients gradients = model->parameters().new_gradients();
  for (std::uint64_t step = 0; step < 3; ++step) {
    Pass pass;
    for (int part = 0; part < how.parts; ++part) {
      const std::uint64_t seed = 10 * step + static_cast<std::uint64_t>(part);
      Tape tape;
      model->parameters().watch(tape);
      const Tensor loss = model->loss(token_tensor(2, config.context, kVocabulary, seed).to(test_device()),
                                      token_tensor(2, config.context, kVocabulary, seed + 5).to(test_device()));
      const auto backward = [&] { std::move(tape).backward(loss, gradients); };
      if (part + 1 == how.parts) {
        pass = watched(buckets, gradients, backward);
      } else {
        backward();
      }
    }
    check_complete(pass, gradients, layout, how.most);
    CHECK(pass.pieces.size() == buckets.size());
    CHECK(pass.before_the_end == (step == 0 ? 0 : buckets.size()));
    gradients.clear();
  }
}

TEST_CASE("gradient buckets: a piece is complete when it is sent, with every mixer") {
  const std::vector<std::string> patterns = decoder_patterns();
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    INFO(patterns[i]);
    const ModelConfig config = decoder_config(patterns[i], i % 2 == 0 ? Positions::rope : Positions::learned,
                                              Norm::layernorm, Mlp::gelu, i % 2 == 0, true);
    check_decoder(config, {.intermediates = i % 3 == 0 ? Intermediates::recomputed : Intermediates::kept,
                           .parts = i % 3 == 1 ? 2 : 1,
                           .most = i % 2 == 0 ? 500 : 40});
  }
}

TEST_CASE("gradient buckets: frozen parameters are not sent") {
  const ModelConfig config =
      decoder_config(decoder_patterns()[0], Positions::rope, Norm::layernorm, Mlp::gelu, true, true);
  check_decoder(config, {.frozen = {"layers.0.*"}});
}

TEST_CASE("gradient buckets: the first layers' pieces come last, and one piece of all comes at the end") {
  const ModelConfig config =
      decoder_config(decoder_patterns()[0], Positions::rope, Norm::layernorm, Mlp::gelu, true, true);
  const std::unique_ptr<Decoder> model = make_decoder(config, DType::f32);
  const FlatLayout layout(model->parameters().shapes());
  for (const std::int64_t most : {std::int64_t{200}, layout.total}) {
    GradientBuckets buckets(layout, most);
    Gradients gradients = model->parameters().new_gradients();
    const auto backward = [&] {
      Tape tape;
      model->parameters().watch(tape);
      const Tensor tokens = token_tensor(2, config.context, kVocabulary, 1).to(test_device());
      const Tensor loss = model->loss(tokens, tokens);
      std::move(tape).backward(loss, gradients);
    };
    const Pass first = watched(buckets, gradients, backward);
    if (most == layout.total) CHECK(first.pieces.size() == 1);
    if (most == layout.total) continue;
    REQUIRE(first.pieces.size() > 4);
    // With tied embeddings the table of tokens, which lies first, is complete at the very end.
    CHECK(first.pieces.back().back().piece.raw() <= gradients.of(0).raw());
    CHECK(first.pieces.front().front().piece.raw() > gradients.of(0).raw());
  }
}

// y = columns(w, 0, 2): two of four columns of w get no gradient, and are zeroed at the end of the pass.
TEST_CASE("gradient buckets: columns of a parameter that nothing uses") {
  Tensor w = normal_tensor({3, 4}, DType::f32, 1);
  Tensor v = normal_tensor({5}, DType::f32, 2);
  const std::vector<Shape> shapes{{3, 4}, {5}};
  const FlatLayout layout(shapes);
  GradientBuckets buckets(layout, layout.total);
  Gradients gradients(shapes, DType::f32, kCpu);
  for (int step = 0; step < 2; ++step) {
    gradients.flat().fill(7);
    Tape tape;
    tape.watch(w);
    tape.watch(v);
    const Tensor y = gelu(columns(w, 0, 2));
    const Tensor z = gelu(v);
    const Tape::Seed seeds[] = {{y, Tensor::full({3, 2}, DType::f32, 1)}, {z, Tensor::full({5}, DType::f32, 1)}};
    const Pass pass = watched(buckets, gradients, [&] { std::move(tape).backward(seeds, gradients); });
    check_complete(pass, gradients, layout, layout.total);
    CHECK(gradients.of(0).at(2) == 0);
    CHECK(gradients.of(0).at(3) == 0);
    gradients.clear();
  }
}

}  // namespace
}  // namespace mixgrad::test
