// A model and its training loop: two layers, one of shift mixing and one of softmax attention, learn characters.
//   train_loop [TEXT [STEPS]]
#include "mixgrad/mixgrad.h"

#include <cstdio>
#include <cstdlib>
using namespace mixgrad;

int main(int count, char** words) try {
  const char* text = count > 1 ? words[1] : SHIPPED_TEXT;
  const int steps = count > 2 ? std::atoi(words[2]) : 200;
  const std::int64_t batch = 12, context = 32;

  const TokenData data = TokenData::open(text, tokenizer_type("char"));

  ModelConfig config{.vocab_size = data.tokenizer().vocab_size(), .context = context, .d_model = 64, .d_ff = 256};
  config.layers = expand_mixer_pattern("hsm:vector(heads=4),attention(heads=4)",
                                       {.layers = 2, .heads = 4, .context = context, .d_model = config.d_model});
  Decoder model(config, DType::f32);
  model.parameters().initialize(/*seed=*/1);
  AdamW optimizer(model.parameters(), {.weight_decay = 0.1});

  const Tensor tokens = Tensor::empty({batch, context}, DType::i32);
  const Tensor targets = Tensor::empty({batch, context}, DType::i32);
  Gradients gradients = model.parameters().new_gradients();
  Rng rng(/*seed=*/2);
  for (int step = 0; step <= steps; ++step) {
    data.sample_batch(rng, tokens, targets);
    Tape tape;
    model.parameters().watch(tape);
    const Tensor loss = model.loss(tokens, targets);
    gradients.clear();
    std::move(tape).backward(loss, gradients);
    optimizer.step(gradients, /*learning_rate=*/3e-3);
    if (step % 50 == 0) std::printf("step %3d  loss %.3f\n", step, loss.item());
  }
} catch (const Error& error) {
  std::fprintf(stderr, "train_loop: %s\n", error.what());
  return 1;
}
