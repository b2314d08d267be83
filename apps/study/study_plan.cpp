#include "apps/study/study_plan.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "apps/options/model_options.h"
#include "apps/options/option_value.h"
#include "apps/process/child.h"
#include "apps/study/study_settings.h"
#include "apps/sweep/sweep_plan.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"
#include "nn/files/generations.h"
#include "nn/training/checkpoint.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;

using Words = std::vector<std::string>;

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

constexpr const char* kResetState = "reset-state";

// --name, and its values; a value that looks like an option is joined to it.
Words option_words(const std::string& name, const Words& values) {
  if (values.size() == 1 && values[0].starts_with("-")) return {option_word(name, values[0])};
  Words words{"--" + name};
  words.insert(words.end(), values.begin(), values.end());
  return words;
}

Words appended(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// Makes the rows of one study.
class Maker {
 public:
  Maker(const StudySettings& settings, const std::string& out, std::int64_t jobs)
      : settings_(settings), out_(out), threads_(std::max<std::int64_t>(1, mixgrad::threads() / jobs)) {
    head_steps_ = settings.one_whole("distill-head-steps", 0, 0, 1'000'000'000);
    distills_ = settings.is_on("distill");
    if (settings.own.count("new-lr-scale") > 0) new_lr_scale_ = read_new_lr_scale();
  }

  StudyRow base(std::int64_t seed) const {
    StudyRow row = new_row("base", 0, seed);
    row.model = checkpoint(seed);
    add_evaluations(row);
    return row;
  }

  StudyRow longer(std::int64_t seed) const {
    StudyRow row = new_row("longer", 0, seed);
    row.model = folder(row, "run");
    row.steps.push_back(train_step("train", checkpoint(seed), row.model, seed, longer_options()));
    add_evaluations(row);
    return row;
  }

  StudyRow converted(const std::string& variant, const std::string& fraction, std::int64_t seed) const {
    StudyRow row = new_row(variant, mixgrad::parse_number<double>(fraction).value(), seed);
    row.name = variant + "-" + fraction + "-seed" + std::to_string(seed);
    const std::string start = folder(row, "converted");
    row.steps.push_back({"convert", convert_arguments(variant, fraction, seed, start), "", start});
    std::string from = start;
    const bool has_new_heads = variant != "window";
    if (head_steps_ > 0 && has_new_heads) {
      if (!reset_option(seed).empty()) {
        raise<ValueError>(settings_.position("distill-head-steps"), "distill-head-steps cannot be given beside ",
                          "reset-state, with which the base was trained; leave it out, or give reset-state = false");
      }
      const std::string heads = folder(row, "heads");
      row.steps.push_back(train_step("heads", start, heads, seed, appended(head_options(seed), new_heads(variant))));
      from = heads;
    }
    row.model = folder(row, "run");
    const Words of_loss = distills_ ? logit_options(seed) : Words{};
    row.steps.push_back(train_step("train", from, row.model, seed, appended(of_loss, new_heads(variant))));
    add_evaluations(row);
    return row;
  }

  // Commands with which train refuses wrong options before anything is run: those of the base trained on, and those of
  // the last step of a row that has a teacher.
  std::vector<StudyStep> checks(const std::vector<std::int64_t>& seeds) const {
    std::vector<StudyStep> steps;
    std::set<std::string> seen;
    for (const std::int64_t seed : seeds) {
      const std::string base = checkpoint(seed);
      if (!seen.insert(base).second) continue;
      const Words words{"train", of_child("plan"), of_child("json"), of_child("checkpoint"), base};
      steps.push_back({"longer", appended(words, train_options(seed, longer_options())), "", ""});
      if (distills_) steps.push_back({"train", appended(words, train_options(seed, logit_options(seed))), "", ""});
    }
    return steps;
  }

  bool is_task(std::int64_t seed) const {
    const Words words = data_options(seed);
    return std::find(words.begin(), words.end(), of_child("task")) != words.end();
  }

 private:
  static StudyRow new_row(const std::string& variant, double fraction, std::int64_t seed) {
    return {.name = variant + "-seed" + std::to_string(seed),
            .variant = variant,
            .fraction = fraction,
            .seed = seed,
            .steps = {},
            .model = {}};
  }
  std::string folder(const StudyRow& row, const char* what) const {
    return (fs::path(out_) / row.name / what).string();
  }
  std::string checkpoint(std::int64_t seed) const {
    return replaced(settings_.text("checkpoint", ""), "{seed}", std::to_string(seed));
  }
  Words of_run(std::int64_t seed) const {
    return {of_child("seed"), std::to_string(seed), of_child("threads"), std::to_string(threads_)};
  }

  // What the run of the base stored.
  const std::map<std::string, std::string>& base_options(std::int64_t seed) const {
    const std::string base = checkpoint(seed);
    const auto known = base_options_.find(base);
    if (known != base_options_.end()) return known->second;
    const fs::path generation = find_generation(base);
    if (!fs::exists(generation / "trainer.json")) {
      raise<ValueError>("--config ", settings_.path, ": the key data or task is required, since ", base,
                        " holds a model alone; add it");
    }
    return base_options_[base] = load_trainer_state(generation).options;
  }

  // The options that say what the data are, which convert, train and eval take: those of the config, or, where it names
  // neither data nor a task, those of the base's own run.
  Words data_options(std::int64_t seed) const {
    Words words;
    if (settings_.gives_data()) {
      for (const ConfigEntry& entry : settings_.of_train) {
        if (is_data_option(entry.key)) words = appended(words, option_words(entry.key, values_of(entry)));
      }
      return words;
    }
    const std::map<std::string, std::string>& stored = base_options(seed);
    const auto value = [&](const std::string& name) {
      const auto found = stored.find(name);
      return found == stored.end() ? std::string() : found->second;
    };
    if (!value("task").empty()) return option_words("task", {value("task")});
    Words sources = list_of_text("trainer.json: options.data", value("data"));
    // Of the shipped text the list is empty; a model that was converted does not know that it is its text.
    if (sources.empty()) sources = ModelOptions().data_spec().sources;
    words = option_words("data", sources);
    for (const auto& [name, text] : stored) {
      if (!is_data_option(name) || name == "data" || text.empty()) continue;
      const bool several = name == "valid";
      words = appended(words,
                       option_words(name, several ? list_of_text("trainer.json: options.valid", text) : Words{text}));
    }
    return words;
  }

  // --reset-state, which train and eval take, and convert does not.
  Words reset_option(std::int64_t seed) const {
    bool resets = false;
    if (const ConfigEntry* entry = settings_.train_option(kResetState)) {
      resets = parse_switch(settings_.position(*entry) + kResetState, entry->value);
    } else if (!settings_.gives_data()) {
      const auto& stored = base_options(seed);
      const auto found = stored.find(kResetState);
      resets = found != stored.end() && found->second == "true";
    }
    return resets ? Words{of_child(kResetState)} : Words{};
  }

  // `more` wins over the config.
  Words train_options(std::int64_t seed, const Words& more) const {
    Words words = appended(data_options(seed), reset_option(seed));
    for (const ConfigEntry& entry : settings_.of_train) {
      if (is_data_option(entry.key) || entry.key == kResetState) continue;
      if (std::find(more.begin(), more.end(), "--" + entry.key) != more.end()) continue;
      const bool joined = entry.type == ConfigEntry::Type::boolean;  // the value of a flag cannot stand apart
      words = appended(words,
                       joined ? Words{option_word(entry.key, entry.value)} : option_words(entry.key, values_of(entry)));
    }
    return appended(appended(words, more), of_run(seed));
  }

  StudyStep train_step(const std::string& name, const std::string& from, const std::string& to, std::int64_t seed,
                       const Words& more) const {
    Words words{"train", of_child("checkpoint"), from, of_child("out"), to, of_child("json")};
    return {name, appended(words, train_options(seed, more)), to, ""};
  }

  std::int64_t steps() const {
    for (const ConfigEntry& entry : settings_.of_train) {
      if (entry.key == "steps") return mixgrad::parse_integer(entry.value).value_or(1000);
    }
    return 1000;
  }
  // The factor by which the new heads learn faster or slower than what was kept, as given.
  std::string read_new_lr_scale() const {
    const std::string factor = settings_.text("new-lr-scale", "");
    const std::optional<double> value = mixgrad::parse_number<double>(factor);
    if (!value || !(*value > 0 && *value <= 1000)) {
      raise<ValueError>(settings_.position("new-lr-scale"), "new-lr-scale must be above 0 and at most 1000; got ",
                        quote(factor), "; it is the factor of the learning rate of the new heads");
    }
    for (const ConfigEntry& entry : settings_.of_train) {
      if (entry.key != "lr-scale") continue;
      raise<ValueError>(settings_.position("new-lr-scale"),
                        "beside it lr-scale cannot be given; leave one of them out");
    }
    return factor;
  }
  Words new_heads(const std::string& variant) const {
    if (new_lr_scale_.empty() || variant == "window") return {};
    return {of_child("lr-scale"), (variant == "shift" ? "*.shift.*=" : "*.mamba.*=") + new_lr_scale_};
  }

  Words longer_options() const { return {of_child("steps"), std::to_string(steps() + head_steps_)}; }
  Words logit_options(std::int64_t seed) const {
    Words words{of_child("distill"), checkpoint(seed)};
    for (const char* key : {"distill-mix", "distill-temperature"}) {
      if (settings_.has(key)) words = appended(words, {of_child(key), settings_.text(key, "")});
    }
    return words;
  }
  Words head_options(std::int64_t seed) const {
    return {of_child("distill"), checkpoint(seed),           of_child("distill-stage"), "heads",
            of_child("steps"),   std::to_string(head_steps_)};
  }

  Words convert_arguments(const std::string& variant, const std::string& fraction, std::int64_t seed,
                          const std::string& to) const {
    const bool own_rule = variant == "random" || variant == "lowest" || variant == "ablation";
    const std::string target = variant == "window" || variant == "shift" ? variant : "recurformer";
    const std::string rule = (own_rule ? variant : std::string("fraction")) + "=" + fraction;
    Words words{"convert", of_child("checkpoint"), checkpoint(seed), of_child("out"),
                to,        of_child("to"),         target,           of_child("select"),
                rule,      of_child("json")};
    if (target != "window") words = appended(words, {of_child("init"), settings_.text("init", "from-attention")});
    if (target == "recurformer") words = appended(words, {of_child("expand"), settings_.text("expand", "1")});
    if (!own_rule || target == "window") {
      if (settings_.own.count("window") > 0)
        words = appended(words, {of_child("window"), settings_.text("window", "0")});
    }
    if (settings_.own.count("sequences") > 0)
      words = appended(words, {of_child("sequences"), settings_.text("sequences", "64")});
    words = appended(words, data_options(seed));
    words = appended(words, {of_child("threads"), std::to_string(threads_)});
    return target == "window" && variant != "random" ? words
                                                     : appended(words, {of_child("seed"), std::to_string(seed)});
  }

  void add_evaluations(StudyRow& row) const {
    const Words sequences = settings_.own.count("eval-sequences") > 0
                                ? Words{of_child("sequences"), settings_.text("eval-sequences", "1000")}
                                : Words{};
    Words words{"eval",           of_child("checkpoint"), row.model,
                of_child("json"), of_child("threads"),    std::to_string(threads_)};
    // A run knows its data. Those of the base are given where the config has any: the base may be a model alone, or a
    // run on other data.
    const bool given = settings_.gives_data() || settings_.train_option(kResetState) != nullptr;
    const Words of_data = appended(data_options(row.seed), reset_option(row.seed));
    const Words own = row.variant == "base" && given ? appended(words, of_data) : words;
    row.steps.push_back({"eval", is_task(row.seed) ? appended(own, sequences) : own, "", ""});
    const Words tasks = settings_.list("eval-tasks", {});
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      row.steps.push_back({"eval-" + std::to_string(i + 1),
                           appended(appended(words, {of_child("task"), tasks[i]}), sequences), "", ""});
    }
  }

  const StudySettings& settings_;
  std::string out_;
  std::int64_t threads_;
  std::int64_t head_steps_ = 0;
  bool distills_ = false;
  std::string new_lr_scale_;                                                        // "" = the schedule's rate
  mutable std::map<std::string, std::map<std::string, std::string>> base_options_;  // by checkpoint
};

std::string text_of(const ConfigEntry& entry) { return entry.values.empty() ? entry.value : list_text(entry.values); }

// As a word of a shell.
std::string quoted(const std::string& word) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-+./,:=@%").find(c) != std::string_view::npos;
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain)) return word;
  return "'" + replaced(word, "'", "'\\''") + "'";
}

}  // namespace

const std::vector<std::string>& study_variants() {
  static const std::vector<std::string> names{"recurformer", "random", "lowest", "ablation", "window", "shift"};
  return names;
}

StudyPlan read_study(const std::string& config, const std::string& out, std::int64_t jobs) {
  const StudySettings settings = read_study_settings(config);
  const Maker maker(settings, out, jobs);
  StudyPlan plan;
  plan.eval_tasks = settings.list("eval-tasks", {});
  plan.timing_lengths = settings.whole("timing-lengths", {"256", "1024", "4096"}, 1);
  const Words variants = settings.list("variants", {"recurformer", "random", "lowest", "window", "shift"});
  for (const std::string& variant : variants) {
    const Words& known = study_variants();
    if (std::find(known.begin(), known.end(), variant) != known.end()) continue;
    raise<ValueError>(settings.position("variants"), "a variant must be one of ", join(known), "; got ", quote(variant),
                      "; ", did_you_mean(variant, known), "choose one of them");
  }
  const Words fractions = settings.list("fractions", {"0.25", "0.5", "0.75", "0.9"});
  for (const std::string& fraction : fractions) {
    const std::optional<double> value = mixgrad::parse_number<double>(fraction);
    if (!value || !(*value > 0 && *value <= 1)) {
      raise<ValueError>(settings.position("fractions"), "a fraction must be above 0 and at most 1; got ",
                        quote(fraction));
    }
  }
  settings.refuse_without_effect(variants);
  const std::vector<std::int64_t> seeds = settings.whole("seeds", {"1", "2", "3"}, 0);
  for (const std::int64_t seed : seeds) {
    plan.rows.push_back(maker.base(seed));
    plan.rows.push_back(maker.longer(seed));
    for (const std::string& fraction : fractions) {
      for (const std::string& variant : variants) plan.rows.push_back(maker.converted(variant, fraction, seed));
    }
  }
  if (settings.has("eval-sequences") && plan.eval_tasks.empty() &&
      std::none_of(seeds.begin(), seeds.end(), [&](std::int64_t seed) { return maker.is_task(seed); })) {
    raise<ValueError>(settings.position("eval-sequences"),
                      "eval-sequences has no effect here: the rows are evaluated on a text; leave it out");
  }
  plan.checks = maker.checks(seeds);
  for (const auto& [key, entry] : settings.own) {
    plan.text += key + "=" + text_of(entry) + "\n";
  }
  for (const ConfigEntry& entry : settings.of_train) plan.text += "train." + entry.key + "=" + text_of(entry) + "\n";
  return plan;
}

std::string study_command(const StudyRow& row) {
  std::string text;
  for (const StudyStep& step : row.steps) {
    text += (text.empty() ? "mixgrad" : " && mixgrad");
    for (const std::string& word : step.arguments) text += " " + quoted(word);
  }
  return text;
}

}  // namespace mixgrad::app
