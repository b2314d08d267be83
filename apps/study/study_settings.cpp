#include "apps/study/study_settings.h"

#include <algorithm>
#include <set>

#include "apps/options/option_value.h"
#include "core/error.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"
#include "nn/analysis/conversion/head_start.h"
#include "nn/data/tasks/task.h"

namespace mixgrad::app {
namespace {

constexpr std::int64_t kMostWhole = 1'000'000'000;

// What the study gives to each run of train, or what would stop a run before its end.
const std::set<std::string>& refused_options() {
  static const std::set<std::string> names{"out",           "resume",        "json",
                                           "plan",          "stop-after",    "print-config",
                                           "sample-tokens", "sample-prompt", "sample-temperature",
                                           "seed",          "threads",       "freeze",
                                           "early-stop",    "trace",         "distill-stage"};
  return names;
}

const std::set<std::string>& own_keys() {
  static const std::set<std::string> names{"checkpoint",
                                           "variants",
                                           "fractions",
                                           "seeds",
                                           "window",
                                           "expand",
                                           "init",
                                           "sequences",
                                           "distill",
                                           "distill-mix",
                                           "distill-head-steps",
                                           "distill-temperature",
                                           "eval-tasks",
                                           "eval-sequences",
                                           "timing-lengths",
                                           "new-lr-scale"};
  return names;
}

// Options of train that take several values.
bool takes_several(const std::string& name) { return name == "data" || name == "valid" || name == "lr-scale"; }

bool holds_any(const std::vector<std::string>& all, std::initializer_list<const char*> names) {
  return std::any_of(all.begin(), all.end(),
                     [&](const std::string& one) { return std::find(names.begin(), names.end(), one) != names.end(); });
}

}  // namespace

std::vector<std::string> values_of(const ConfigEntry& entry) {
  return entry.values.empty() ? std::vector<std::string>{entry.value} : entry.values;
}

bool is_data_option(const std::string& name) {
  static const std::set<std::string> names{"data",          "valid",          "field",   "column", "codebooks",
                                           "codebook-size", "document-token", "unknown", "task"};
  return names.count(name) > 0;
}

const ConfigEntry* StudySettings::train_option(const std::string& key) const {
  const auto found =
      std::find_if(of_train.begin(), of_train.end(), [&](const ConfigEntry& entry) { return entry.key == key; });
  return found == of_train.end() ? nullptr : &*found;
}

std::string StudySettings::position(const ConfigEntry& entry) const {
  return "--config " + path + " line " + std::to_string(entry.line) + ": ";
}

StudySettings::Words StudySettings::list(const std::string& key, Words absent) const {
  if (!has(key)) return absent;
  Words values = values_of(own.at(key));
  if (std::set<std::string>(values.begin(), values.end()).size() < values.size()) {
    raise<ValueError>(position(key), "the values of ", key, " must differ; leave out the second one");
  }
  return values;
}

std::string StudySettings::text(const std::string& key, const std::string& absent) const {
  if (!has(key)) return absent;
  if (!own.at(key).values.empty()) raise<ValueError>(position(key), key, " takes one value, not an array");
  return own.at(key).value;
}

bool StudySettings::is_on(const std::string& key) const {
  return has(key) && parse_switch(position(key) + key, text(key, ""));
}

std::vector<std::int64_t> StudySettings::whole(const std::string& key, const Words& absent, std::int64_t low) const {
  std::vector<std::int64_t> numbers;
  for (const std::string& value : list(key, absent)) {
    const std::optional<std::int64_t> number = mixgrad::parse_integer(value);
    if (!number || *number < low || *number > kMostWhole) {
      raise<ValueError>(position(key), key, " must hold integers from ", low, " to ", kMostWhole, "; got ",
                        quote(value));
    }
    numbers.push_back(*number);
  }
  return numbers;
}

std::int64_t StudySettings::one_whole(const std::string& key, std::int64_t absent, std::int64_t low,
                                      std::int64_t high) const {
  return has(key) ? parse_integer(position(key) + key, text(key, ""), {low, high}) : absent;
}

void StudySettings::refuse_without_effect(const Words& variants) const {
  const auto refuse = [&](const char* key, bool has_effect, const char* reason) {
    if (has_effect || !has(key)) return;
    raise<ValueError>(position(key), key, " has no effect here: ", reason, "; leave it out");
  };
  const bool new_heads = holds_any(variants, {"recurformer", "random", "lowest", "ablation", "shift"});
  refuse("expand", holds_any(variants, {"recurformer", "random", "lowest", "ablation"}),
         "no variant makes Mamba heads");
  refuse("init", new_heads, "no variant has new heads");
  refuse("new-lr-scale", new_heads, "no variant has new heads");
  refuse("distill-head-steps", new_heads, "no variant has new heads");
  refuse("window", holds_any(variants, {"recurformer", "window", "shift"}),
         "no variant chooses heads by recency or gives them a window");
  for (const char* key : {"distill-head-steps", "distill-mix", "distill-temperature"}) {
    if (!has(key) || is_on("distill")) continue;
    raise<ValueError>(position(key), key, ": it belongs to distill = true; add that, or leave it out");
  }
  for (const ConfigEntry& entry : of_train) {
    if (!is_data_option(entry.key) || gives_data()) continue;
    raise<ValueError>(position(entry), entry.key, " has no effect here: without data the data are read as the run of ",
                      "the base read them; add data, or leave it out");
  }
  if (one_whole("distill-head-steps", 0, 0, kMostWhole) == 0) return;
  for (const ConfigEntry& entry : of_train) {
    const bool drops = entry.key == "dropout" && mixgrad::parse_number<double>(entry.value).value_or(1) > 0;
    const bool flagged = (entry.key == "recompute" || entry.key == "reset-state") && entry.value == "true";
    if (!drops && !flagged) continue;
    raise<ValueError>(position(entry), entry.key, " cannot be given beside distill-head-steps, since ",
                      "train --distill-stage heads refuses it; leave one of them out");
  }
}

StudySettings read_study_settings(const std::string& path) {
  StudySettings settings{.path = path, .own = {}, .of_train = {}};
  for (const ConfigEntry& entry : read_config(path, "study")) {
    const std::string position = settings.position(entry);
    if (refused_options().count(entry.key) > 0) {
      raise<ValueError>(position, entry.key, " cannot be given here: the study gives it to each run; leave it out");
    }
    if (own_keys().count(entry.key) > 0) {
      settings.own[entry.key] = entry;
      continue;
    }
    if (!entry.values.empty() && !takes_several(entry.key)) {
      const std::vector<std::string> known(own_keys().begin(), own_keys().end());
      raise<ValueError>(position, "a key that takes several values must be one of the study's own, ", join(known),
                        ", or data, valid or lr-scale; got ", quote(entry.key), "; ", did_you_mean(entry.key, known),
                        "an option of train takes one value");
    }
    for (const std::string& value : values_of(entry)) {
      if ((entry.key != "data" && entry.key != "valid") || value != "-") continue;
      raise<ValueError>(position, entry.key, " must name files or folders, since each command of a study reads them; ",
                        "got - (stdin); write it to a file first");
    }
    settings.of_train.push_back(entry);
  }
  if (!settings.has("checkpoint")) {
    raise<ValueError>("--config ", path, ": the key checkpoint is required: the folder of the base model's run");
  }
  const std::string init = settings.text("init", "from-attention");
  if (settings.has("init")) parse_word(settings.position("init") + "init", init, enum_names<HeadStart>());
  settings.one_whole("expand", 1, 1, 2);
  settings.one_whole("window", 0, 0, kMostWhole);
  settings.one_whole("sequences", 1, 1, kMostWhole);
  settings.one_whole("eval-sequences", 1, 1, kMostWhole);
  settings.one_whole("distill-head-steps", 0, 0, kMostWhole);
  for (const std::string& task : settings.list("eval-tasks", {})) {
    try {
      parse_task(task);
    } catch (const ValueError& error) {
      raise<ValueError>(settings.position("eval-tasks"), error.what());
    }
  }
  return settings;
}

}  // namespace mixgrad::app
