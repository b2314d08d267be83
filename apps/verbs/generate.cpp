// mixgrad generate: text from a trained model, streamed.
#include "apps/options/placement_options.h"
#include "apps/run/prompt.h"
#include "apps/run/sample.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/parallel.h"
#include "nn/training/checkpoint.h"

namespace mixgrad::app {
namespace {

class Generate : public Verb {
 public:
  std::string summary() const override { return "Continue a text with a trained model"; }
  std::string example() const override {
    return "mixgrad generate --checkpoint runs/char --prompt \"ROMEO:\" --tokens 200 --temperature 0.8";
  }

  void declare(OptionSet& options) override {
    options.add("checkpoint", checkpoint_, "Folder of a run, or one generation of it", {.value = "DIR"});
    prompt_.declare(options);
    options.add("tokens", tokens_, kCountOrNone, "Tokens to generate");
    options.add("temperature", sampling_.temperature, RealRange{},
                "Below 1 more predictable, above 1 more varied; 0 = always the likeliest token");
    const OptionTraits of_draws{.useless = useless_when([this] { return sampling_.temperature == 0; },
                                                        "--temperature 0 always takes the likeliest token")};
    options.add("top-k", sampling_.top_k, kCountOrNone, "Only the k likeliest tokens; 0 = all", of_draws);
    options.add("top-p", sampling_.top_p, {.high = 1, .without_low = true},
                "Only the likeliest tokens whose probabilities add up to this", of_draws);
    options.add("seed", seed_, "Seed of the draws", of_draws);
    declare_threads(options, threads_);
    placement_.declare(options, {"f32", "f64", "bf16"}, "Type of the arithmetic");
  }

  int run() override {
    if (checkpoint_.empty()) raise<ValueError>("generate: --checkpoint DIR is required: the folder of a training run");
    placement_.check_device();
    const ContextScope scope(placement_.context(threads_));
    validate(sampling_);
    const Checkpoint checkpoint = load_checkpoint(checkpoint_, placement_.model_placement());
    stream_sample(*checkpoint.model, *checkpoint.tokenizer, prompt_.tokens(*checkpoint.tokenizer), tokens_, sampling_,
                  seed_);
    return kOk;
  }

 private:
  std::string checkpoint_;
  PromptOptions prompt_;
  std::int64_t tokens_ = 200, threads_ = 0;
  SamplingOptions sampling_;
  PlacementOptions placement_;
  std::uint64_t seed_ = 1;
};

}  // namespace

std::unique_ptr<Verb> verbs::generate() { return std::make_unique<Generate>(); }

}  // namespace mixgrad::app
