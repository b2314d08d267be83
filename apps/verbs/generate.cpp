// mixgrad generate: text from a trained model, streamed; several at once; music and sound as files.
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/generation/batch.h"
#include "apps/generation/interactive.h"
#include "apps/generation/output_file.h"
#include "apps/generation/prompt.h"
#include "apps/generation/sample.h"
#include "apps/options/placement_options.h"
#include "apps/output/error_line.h"
#include "apps/output/json_line.h"
#include "apps/output/standard_output.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/parallel.h"
#include "nn/training/checkpoint.h"

namespace mixgrad::app {
namespace {

constexpr std::int64_t kUsualRate = 8000;

class Generate : public Verb {
 public:
  std::string summary() const override { return "Continue a text with a trained model"; }
  std::string example() const override {
    return "mixgrad generate --checkpoint runs/char --prompt \"ROMEO:\" --tokens 200 --temperature 0.8";
  }

  void declare(OptionSet& options) override {
    options.add("checkpoint", checkpoint_, "Folder of a run, or one generation of it", {.value = "DIR"});
    const auto interactive = useless_when([this] { return interactive_; }, "--interactive continues what is typed");
    prompt_.declare(options, interactive, [this] { return interactive_ || !stops_.empty(); });
    options.add_flag("interactive", interactive_,
                     "Continues each line that is typed; Ctrl-C stops the answer, Ctrl-D ends the program");
    options.add("tokens", batch_.tokens, kCountOrNone, "Tokens to generate, at most");
    options.add("samples", batch_.samples, {1, 1 << 16},
                "Continuations of each prompt; the seed of each is the one after that of the one before",
                {.useless = interactive});
    options.add("batch", batch_.batch, {1, 1 << 16}, "Sequences at a time", {.useless = interactive});
    options.add_list("stop", stops_, "Ends before this text, once it is generated; several times for several",
                     {.value = "TEXT", .not_empty = true});
    options.add_flag(
        "ignore-end", ignore_end_,
        "Go on behind the token that ends a text, where the tokenizer has one; without it generation ends there");
    declare_sampling(options);
    options.add_flag("json", json_, "A JSON object a line on stdout for each continuation",
                     {.useless = useless_when([this] { return interactive_; }, "--interactive prints text")});
    options.add_flag("logprobs", logprobs_,
                     "With --json: the natural logarithm of the probability that the model gave each token",
                     {.useless = useless_when([this] { return !json_; }, "only --json prints them")});
    options.add("out", out_,
                "File for what was generated, instead of stdout: music of MIDI or ABC, or sound (" +
                    writer_extensions() + "); several get numbers",
                {.value = "FILE", .not_empty = true, .useless = interactive});
    options.add("rate", rate_, {0, 1'000'000},
                "Samples a second of --out FILE.wav; 0 = those of the WAV files of the run, else 8000",
                {.useless = useless_when([this] { return !has_rate(); }, "it belongs to --out FILE.wav")});
    declare_threads(options, threads_);
    placement_.declare(options, {"f32", "f64", "bf16"}, "Type of the arithmetic");
  }

  int run() override {
    if (checkpoint_.empty()) raise<ValueError>("generate: --checkpoint DIR is required: the folder of a training run");
    placement_.check_device();
    const ContextScope scope(placement_.context(threads_));
    validate(batch_.sampling);
    const Checkpoint checkpoint = load_checkpoint(checkpoint_, placement_.model_placement());
    const Tokenizer& tokenizer = *checkpoint.tokenizer;
    std::vector<std::string> typed;
    for (const std::string& stop : stops_) typed.push_back(prompt_.unescaped(stop, "--stop"));
    StopTexts stops(typed, tokenizer);
    const std::optional<std::int32_t> end = tokenizer.special_tokens().end;
    if (ignore_end_ && !end) {
      raise<ValueError>("generate: --ignore-end needs a tokenizer with a token that ends a text; that of ", checkpoint_,
                        " has none; leave it out");
    }
    if (!ignore_end_) stops.end_token = end;
    if (interactive_) {
      converse({*checkpoint.model, tokenizer, stops, batch_.tokens, batch_.sampling, batch_.seed,
                [this](const std::string& line) { return prompt_.unescaped(line, "the line"); }});
      return kOk;
    }
    std::vector<Prompt> prompts = prompt_.prompts(tokenizer);
    const std::size_t count = prompts.size() * static_cast<std::size_t>(batch_.samples);
    std::optional<OutputFile> file;
    if (!out_.empty()) {
      const std::int64_t rate = rate_ > 0 ? rate_ : has_rate() ? rate_of_run(checkpoint_).value_or(kUsualRate) : 0;
      file.emplace(out_, tokenizer, count, rate);
      if (prompt_.texts.empty() && prompt_.files.empty()) prompts = {file->start(tokenizer)};
    }
    Speed speed;
    if (count == 1 && !json_ && !file) {
      Continuation continuation(tokenizer, prompts[0].tokens, stops, batch_.tokens, prompts[0].hidden,
                                Continuation::Keep::nothing);
      speed.begin();
      stream_sample(*checkpoint.model, tokenizer, continuation, batch_.sampling, batch_.seed);
      speed.count(continuation.taken());
    } else {
      if (logprobs_) batch_.log_probabilities = BatchGenerator::LogProbabilities::yes;
      continue_prompts(*checkpoint.model, tokenizer, prompts, stops, batch_, speed,
                       [&](std::size_t number, const Continuation& continuation) {
                         const Prompt& prompt = prompts[number / static_cast<std::size_t>(batch_.samples)];
                         print(number, prompt, continuation, tokenizer, file, count);
                       });
    }
    speed.say_it();
    return kOk;
  }

 private:
  void declare_sampling(OptionSet& options) {
    SamplingOptions& sampling = batch_.sampling;
    options.add("temperature", sampling.temperature, RealRange{},
                "Below 1 more predictable, above 1 more varied; 0 = always the likeliest token");
    const OptionTraits of_draws{.useless = useless_when([this] { return batch_.sampling.temperature == 0; },
                                                        "--temperature 0 always takes the likeliest token")};
    options.add("top-k", sampling.top_k, kCountOrNone, "Only the k likeliest tokens; 0 = all", of_draws);
    options.add("top-p", sampling.top_p, {.high = 1, .without_low = true},
                "Only the likeliest tokens whose probabilities add up to this", of_draws);
    options.add("min-p", sampling.min_p, {.high = 1},
                "Only tokens at least this many times as likely as the likeliest; 0 = all", of_draws);
    options.add("repetition-penalty", sampling.repetition_penalty, kAboveZero,
                "Above 1: tokens that have occurred become less likely; 1 = none");
    options.add("seed", batch_.seed, "Seed of the draws", of_draws);
  }

  bool has_rate() const {
    const Writer* writer = find_writer(out_);
    return writer != nullptr && writer->has_rate;
  }

  void print(std::size_t number, const Prompt& prompt, const Continuation& continuation, const Tokenizer& tokenizer,
             const std::optional<OutputFile>& file, std::size_t count) const {
    std::string written;
    if (file) {
      written = file->write(number, continuation);
      if (!json_) say("wrote " + written);
    }
    const std::size_t sample = number % static_cast<std::size_t>(batch_.samples) + 1;
    if (json_) return print_object(prompt, sample, batch_.seed + number, continuation, tokenizer, written);
    if (file) return;
    if (count > 1) {
      const std::size_t of_prompt = number / static_cast<std::size_t>(batch_.samples) + 1;
      put_text((number > 0 ? "\n" : "") + std::string("--- prompt ") + std::to_string(of_prompt) + ", sample " +
               std::to_string(sample) + "\n");
    }
    put_text(continuation.prompt_text() + continuation.text() + "\n");
  }

  void print_object(const Prompt& prompt, std::size_t sample, std::uint64_t seed, const Continuation& continuation,
                    const Tokenizer& tokenizer, const std::string& written) const {
    nlohmann::ordered_json object{{"prompt", prompt.text}, {"sample", sample}};
    if (batch_.sampling.temperature > 0) object["seed"] = seed;
    object["text"] = continuation.text();
    object["ids"] = nlohmann::ordered_json::array();
    for (const BatchGenerator::Drawn& drawn : continuation.drawn()) object["ids"].push_back(drawn.id);
    object["end"] = continuation.stop() != nullptr ? "stop" : continuation.at_end_token() ? "end_token" : "tokens";
    if (continuation.stop() != nullptr) object["stop"] = *continuation.stop();
    if (logprobs_) {
      object["pieces"] = nlohmann::ordered_json::array();
      object["logprobs"] = nlohmann::ordered_json::array();
      for (const BatchGenerator::Drawn& drawn : continuation.drawn()) {
        object["pieces"].push_back(tokenizer.piece(drawn.id));
        object["logprobs"].push_back(drawn.log_probability);
      }
    }
    if (!written.empty()) object["out"] = written;
    print_json(object);
    flush_stdout();
  }

  std::string checkpoint_, out_;
  PromptOptions prompt_;
  std::vector<std::string> stops_;
  BatchOptions batch_;
  std::int64_t threads_ = 0, rate_ = 0;
  PlacementOptions placement_;
  bool interactive_ = false, json_ = false, logprobs_ = false, ignore_end_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::generate() { return std::make_unique<Generate>(); }

}  // namespace mixgrad::app
