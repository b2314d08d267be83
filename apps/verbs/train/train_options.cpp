// The options of `mixgrad train`: what each means, when it has no effect, and what a run stores of them.
#include <map>

#include "apps/options/option_value.h"
#include "apps/run/run_ranks.h"
#include "apps/verbs/train/train.h"
#include "core/text/parse_number.h"

namespace mixgrad::app {
void Train::declare(OptionSet& options) {
  options.add("out", out_, "Folder of the run: checkpoints and metrics.jsonl; must not hold a run already",
              {.value = "DIR", .on_resume = OnResume::not_stored});
  options.add("resume", resume_, "Resume this run, or this generation of it; the result is the same bits",
              {.value = "DIR", .on_resume = OnResume::not_stored, .resumes_run = true});
  options.add("checkpoint", checkpoint_, "Start from the weights of this run or generation",
              {.value = "DIR", .loads_checkpoint = true});
  options.add("stop-after", run_.stop_after, kCountOrNone, "Stop after this many steps of the schedule; 0 = all",
              {.on_resume = OnResume::not_stored});
  options.add("eval-every", run_.eval_every, kCountOrNone,
              "Steps between evaluations on the validation split; 0 = only at the end",
              {.on_resume = OnResume::may_change,
               .useless = useless_when([this] { return !validates(); }, "--valid none has no evaluation")});
  options.add("save-every", run_.save_every, kCountOrNone,
              "Steps between checkpoints; one is written before each evaluation as well",
              {.on_resume = OnResume::may_change});
  options.add("log-every", run_.log_every, kCount, "Steps between logged steps", {.on_resume = OnResume::may_change});
  options.add("early-stop", early_stop_,
              "patience=N[,min-delta=X]: stop after N consecutive evaluations without an improvement of at least X",
              {.value = "RULE", .useless = [this]() -> std::string {
                 if (!validates()) return "--valid none has no evaluation";
                 return run_.eval_every == 0 ? "--eval-every 0 has no evaluation before the end" : "";
               }});
  options.add("skip-nonfinite", run_.skip_nonfinite, kCountOrNone,
              "Leave out up to this many steps whose loss or gradient is not finite; 0 = stop at the first");
  options.add(
      "sampling", sampling_, {"random", "shuffle"},
      "random: windows that begin anywhere; shuffle: windows side by side, each once an epoch",
      {.group = OptionGroup::data,
       .useless = useless_when([this] { return !model_.task.empty(); }, "the sequences of --task are generated"),
       .absent_means = "random"});
  training_.declare_seed(options);
  options.add_flag("plan", plan_, "Print the memory that the run needs, and stop", {.on_resume = OnResume::not_stored});
  options.add(
      "trace", trace_, "Before the first step, run one like it and write here what each operator takes",
      {.value = "FILE", .on_resume = OnResume::not_stored, .not_empty = true, .useless = [this]() -> std::string {
         if (model_.source.reset_state) return "--reset-state runs documents in groups of other shapes each time";
         if (matches_heads()) return "--distill-stage heads runs each layer forward and backward by itself";
         return plan_ ? "--plan runs no step" : "";
       }});
  options.add_flag("json", run_.json, "One JSON line per logged step on stdout, and no sample",
                   {.on_resume = OnResume::not_stored});
  declare_sample(options);
  options.add_presets(model_presets(), PresetUse::complete);
  const auto as_before = useless_when([this] { return model_.data.empty() && !checkpoint_.empty(); },
                                      "without --data the data are read as the run of --checkpoint read them");
  model_.declare_data(options, OnResume::may_change, OnResume::fixed, as_before);
  model_.declare_reset_state(options, as_before);
  model_.declare_task(options, OnResume::fixed);
  model_.declare_model(options);
  declare_unknown(options);
  training_.declare_batch(options);
  training_.declare_steps(options);
  training_.declare_optimisation(options);
  training_.declare_dropout(options);
  training_.declare_recompute(options);
  training_.declare_frozen(options);
  training_.declare_ranks(options, started_alone());
  declare_timeout(options, training_.timeout, started_alone());
  distill_.declare(options);
  training_.declare_placement(options);
}

void Train::declare_sample(OptionSet& options) {
  OptionTraits traits{.on_resume = OnResume::not_stored};
  traits.useless = [this]() -> std::string {
    if (!model_.task.empty()) return "a task has no text to continue";
    return run_.json ? "--json prints no sample" : "";
  };
  options.add("sample-tokens", run_.sample.tokens, kCountOrNone, "Tokens of the sample at the end; 0 = no sample",
              traits);
  traits.useless = [this, of_json = traits.useless]() -> std::string {
    return run_.sample.tokens == 0 ? "--sample-tokens 0 takes no sample" : of_json();
  };
  options.add("sample-temperature", run_.sample.temperature, RealRange{}, "As --temperature of generate", traits);
  traits.not_empty = true;
  options.add("sample-prompt", run_.sample.prompt, "Text that the sample continues; without it as generate", traits);
}

void Train::declare_unknown(OptionSet& options) {
  model_.declare_unknown(options, {.useless = useless_when([this] { return checkpoint_.empty() && !resumed(); },
                                                           "a new run makes its vocabulary from its text"),
                                   .absent_means = "error"});
}

OptionTexts Train::load() {
  if (resume_.empty()) return {};
  text_given_ = !model_.data.empty();
  generation_ = find_generation(resume_);
  state_ = load_trainer_state(generation_);
  if (const auto steps = state_.options.find("steps"); steps != state_.options.end()) {
    stored_steps_ = mixgrad::parse_integer(steps->second).value_or(0);
  }
  return {state_.options.begin(), state_.options.end()};
}

void Train::store(const OptionTexts& values) {
  state_.options = {values.begin(), values.end()};
  store_data();
  if (model_.unknown.empty()) state_.options.erase("unknown");
  if (!model_.task.empty()) state_.options["context"] = std::to_string(parse_task(model_.task)->length());
}

void Train::store_data() {
  if (resumed() && !text_given_) return;  // as they were stored
  const std::map<std::string, std::string> values{{"data", list_text(SourceOptions::absolute_sources(model_.data))},
                                                  {"valid", model_.source.absolute_valid()},
                                                  {"field", model_.source.field},
                                                  {"column", model_.source.column},
                                                  {"codebooks", model_.source.codebooks},
                                                  {"codebook-size", std::to_string(model_.source.codebook_size)},
                                                  {"document-token", model_.source.document_token},
                                                  {"reset-state", model_.source.reset_state ? "true" : ""}};
  for (const auto& [name, value] : values) {
    const bool is_default = name == "codebook-size" ? model_.source.codebook_size == kCodebookSize : value.empty();
    state_.options.erase(name);
    if (name == "data" || !is_default) state_.options[name] = value;
  }
}

}  // namespace mixgrad::app
