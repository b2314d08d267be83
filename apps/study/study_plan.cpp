#include "apps/study/study_plan.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "apps/options/config_file.h"
#include "apps/options/model_options.h"
#include "apps/options/option_value.h"
#include "apps/process/child.h"
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

// The keys of a study's own, as texts; a key that is not there has its default.
struct Settings {
  std::string path;
  std::map<std::string, ConfigEntry> own;
  std::vector<ConfigEntry> of_train;

  std::string position(const std::string& key) const {
    return "--config " + path + " line " + std::to_string(own.at(key).line) + ": ";
  }
  Words list(const std::string& key, Words absent) const {
    const auto found = own.find(key);
    if (found == own.end()) return absent;
    Words values = found->second.values.empty() ? Words{found->second.value} : found->second.values;
    if (std::set<std::string>(values.begin(), values.end()).size() < values.size()) {
      raise<ValueError>(position(key), "the values of ", key, " must differ; leave out the second one");
    }
    return values;
  }
  std::string text(const std::string& key, const std::string& absent) const {
    const auto found = own.find(key);
    if (found == own.end()) return absent;
    if (!found->second.values.empty()) raise<ValueError>(position(key), key, " takes one value, not an array");
    return found->second.value;
  }
  std::vector<std::int64_t> whole(const std::string& key, const Words& absent, std::int64_t low) const {
    std::vector<std::int64_t> numbers;
    for (const std::string& value : list(key, absent)) {
      const std::optional<std::int64_t> number = mixgrad::parse_integer(value);
      if (!number || *number < low || *number > 1'000'000'000) {
        raise<ValueError>(position(key), key, " must hold integers from ", low, " to 1000000000; got ", quote(value));
      }
      numbers.push_back(*number);
    }
    return numbers;
  }
};

// What the study gives to each run of train, or what would stop a run before its end.
const std::set<std::string>& refused_options() {
  static const std::set<std::string> names{"out",           "resume",        "json",
                                           "plan",          "stop-after",    "print-config",
                                           "sample-tokens", "sample-prompt", "sample-temperature",
                                           "seed",          "threads",       "freeze",
                                           "early-stop"};
  return names;
}

const std::set<std::string>& own_keys() {
  static const std::set<std::string> names{
      "checkpoint", "variants", "fractions",          "seeds",      "window",         "expand",         "init",
      "sequences",  "distill",  "distill-head-steps", "eval-tasks", "eval-sequences", "timing-lengths", "new-lr-scale"};
  return names;
}

Settings read_settings(const std::string& path) {
  Settings settings{.path = path, .own = {}, .of_train = {}};
  for (const ConfigEntry& entry : read_config(path, "study")) {
    const std::string position = "--config " + path + " line " + std::to_string(entry.line) + ": ";
    if (refused_options().count(entry.key) > 0) {
      raise<ValueError>(position, entry.key, " cannot be given here: the study gives it to each run; leave it out");
    }
    if (own_keys().count(entry.key) > 0) {
      settings.own[entry.key] = entry;
      continue;
    }
    if (!entry.values.empty()) {
      const std::vector<std::string> known(own_keys().begin(), own_keys().end());
      raise<ValueError>(position, "a key that takes several values must be one of the study's own, ", join(known),
                        "; got ", quote(entry.key), "; ", did_you_mean(entry.key, known),
                        "an option of train takes one value");
    }
    settings.of_train.push_back(entry);
  }
  if (settings.own.count("checkpoint") == 0) {
    raise<ValueError>("--config ", path, ": the key checkpoint is required: the folder of the base model's run");
  }
  return settings;
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

Words appended(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// Makes the rows of one study.
class Maker {
 public:
  Maker(const Settings& settings, const std::string& out, std::int64_t jobs)
      : settings_(settings), out_(out), threads_(std::max<std::int64_t>(1, mixgrad::threads() / jobs)) {
    head_steps_ = settings.whole("distill-head-steps", {"0"}, 0).front();
    distills_ = settings.text("distill", "false") == "true";
    if (head_steps_ > 0 && !distills_) {
      raise<ValueError>(settings.position("distill-head-steps"), "it belongs to distill = true; add that");
    }
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

  // The options that say what the data are, which convert, train and eval take: those of the config, or, where it names
  // neither data nor a task, those of the base's own run.
  Words data_options(std::int64_t seed) const {
    Words words;
    if (gives_data()) {
      for (const ConfigEntry& entry : settings_.of_train) {
        if (is_data_option(entry.key)) words = appended(words, {"--" + entry.key, entry.value});
      }
      return words;
    }
    const fs::path generation = find_generation(checkpoint(seed));
    if (!fs::exists(generation / "trainer.json")) {
      raise<ValueError>("--config ", settings_.path, ": the key data or task is required, since ", checkpoint(seed),
                        " holds a model alone; add it");
    }
    for (const auto& [name, value] : load_trainer_state(generation).options) {
      if (name == "data") {
        const Words own = list_of_text("trainer.json: options.data", value);
        // None: the shipped text, which a folder that holds a model alone does not know of.
        words = appended(appended(words, {of_child("data")}), own.empty() ? ModelOptions().data_spec().sources : own);
      } else if (is_data_option(name)) {
        words = appended(words, {"--" + name, value});
      }
    }
    return words;
  }

  bool gives_data() const {
    return std::any_of(settings_.of_train.begin(), settings_.of_train.end(),
                       [](const ConfigEntry& entry) { return entry.key == "data" || entry.key == "task"; });
  }

  static bool is_data_option(const std::string& name) {
    static const std::set<std::string> names{"data",          "valid",          "field",   "column", "codebooks",
                                             "codebook-size", "document-token", "unknown", "task"};
    return names.count(name) > 0;
  }

  bool is_task(std::int64_t seed) const {
    const Words words = data_options(seed);
    return std::find(words.begin(), words.end(), of_child("task")) != words.end();
  }

  // `more` wins over the config.
  Words train_options(const Words& more) const {
    Words words;
    for (const ConfigEntry& entry : settings_.of_train) {
      const std::string name = "--" + entry.key;
      if (is_data_option(entry.key)) continue;
      if (std::find(more.begin(), more.end(), name) == more.end()) words = appended(words, {name, entry.value});
    }
    return appended(words, more);
  }

  StudyStep train_step(const std::string& name, const std::string& from, const std::string& to, std::int64_t seed,
                       const Words& more) const {
    Words words{"train", of_child("checkpoint"), from, of_child("out"), to, of_child("json")};
    words = appended(words, data_options(seed));
    return {name, appended(appended(words, train_options(more)), of_run(seed)), to, ""};
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
  Words logit_options(std::int64_t seed) const { return {of_child("distill"), checkpoint(seed)}; }
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
    // A run knows its data; a base that is no run has them from the config.
    const Words own = row.variant == "base" && gives_data() ? appended(words, data_options(row.seed)) : words;
    row.steps.push_back({"eval", is_task(row.seed) ? appended(own, sequences) : own, "", ""});
    const Words tasks = settings_.list("eval-tasks", {});
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      row.steps.push_back({"eval-" + std::to_string(i + 1),
                           appended(appended(words, {of_child("task"), tasks[i]}), sequences), "", ""});
    }
  }

  const Settings& settings_;
  std::string out_;
  std::int64_t threads_;
  std::int64_t head_steps_ = 0;
  bool distills_ = false;
  std::string new_lr_scale_;  // "" = the schedule's rate
};

std::string quoted(const std::string& word) {
  const bool plain =
      word.find_first_of(" ()*'\"=;&|") == std::string::npos || word.find_first_of(" ()*;&|'\"") == std::string::npos;
  return plain ? word : "'" + word + "'";
}

}  // namespace

const std::vector<std::string>& study_variants() {
  static const std::vector<std::string> names{"recurformer", "random", "lowest", "ablation", "window", "shift"};
  return names;
}

StudyPlan read_study(const std::string& config, const std::string& out, std::int64_t jobs) {
  const Settings settings = read_settings(config);
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
  const std::vector<std::int64_t> seeds = settings.whole("seeds", {"1", "2", "3"}, 0);
  for (const std::int64_t seed : seeds) {
    plan.rows.push_back(maker.base(seed));
    plan.rows.push_back(maker.longer(seed));
    for (const std::string& fraction : fractions) {
      for (const std::string& variant : variants) plan.rows.push_back(maker.converted(variant, fraction, seed));
    }
  }
  for (const auto& [key, entry] : settings.own) {
    plan.text += key + "=" + (entry.values.empty() ? entry.value : list_text(entry.values)) + "\n";
  }
  for (const ConfigEntry& entry : settings.of_train) plan.text += "train." + entry.key + "=" + entry.value + "\n";
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
