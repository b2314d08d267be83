// A layer kind outside the library: checked by the laws that hold for the library's own, trained beside softmax
// attention, stored and read as config.json, decoded token by token.
#include <cstdio>

#include "ema_mixer.h"
#include "nn/mixers/laws/mixer_laws.h"

using namespace mixgrad;

int main() try {
  ema::register_ema();

  const std::vector<std::string> failures = mixer_kind_failures(ema::EmaConfig::kind());
  for (const std::string& failure : failures) std::printf("law broken: %s\n", failure.c_str());
  std::printf("laws of mixers: %zu broken\n", failures.size());

  const TokenData data = TokenData::open(SHIPPED_TEXT, tokenizer_type("char"));
  const std::int64_t batch = 8, context = 32, width = 32;
  ModelConfig config{.vocab_size = data.tokenizer().vocab_size(), .context = context, .d_model = width, .d_ff = 64};
  config.layers = expand_mixer_pattern("ema(slowest=16),attention",
                                       {.layers = 2, .heads = 4, .context = context, .d_model = width});
  validate(config);
  if (!(parse_model_config(to_json(config), "config.json") == config)) throw Error("config.json changes the model");

  Decoder model(config, DType::f32);
  model.parameters().initialize(1);
  AdamW optimizer(model.parameters(), {});
  TrainStep step(model, optimizer);
  const Tensor tokens = Tensor::empty({batch, context}, DType::i32);
  const Tensor targets = Tensor::empty({batch, context}, DType::i32);
  Rng rng(2);
  double first = 0, last = 0;
  for (int i = 0; i < 100; ++i) {
    data.sample_batch(rng, tokens, targets);
    last = step.run(tokens, targets, 3e-3).loss;
    if (i == 0) first = last;
  }
  std::printf("trained 100 steps: loss %.2f to %.2f\n", first, last);

  Generator generator(model, config.vocab_size, {.temperature = 0.8}, /*seed=*/3);
  generator.prompt(data.tokenizer().encode("ROMEO:"));
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 40; ++i) ids.push_back(generator.next());
  const std::string text = data.tokenizer().decode(ids);
  std::printf("decoded with a state of %zu bytes: %s\n", generator.state_bytes(), text.c_str());
  return failures.empty() && last < first - 0.5 ? 0 : 1;
} catch (const Error& error) {
  std::fprintf(stderr, "custom_mixer: %s\n", error.what());
  return 1;
}
