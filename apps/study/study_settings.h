// The config file of a study as it stands there: keys of the study's own, and options of train.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "apps/options/config_file.h"

namespace mixgrad::app {

// What is not there has the default that the caller names. ValueError with file and line for a value of another kind.
struct StudySettings {
  using Words = std::vector<std::string>;

  std::string path;
  std::map<std::string, ConfigEntry> own;
  std::vector<ConfigEntry> of_train;

  bool has(const std::string& key) const { return own.count(key) > 0; }
  const ConfigEntry* train_option(const std::string& key) const;  // null: not given
  std::string position(const ConfigEntry& entry) const;           // "--config FILE line 3: "
  std::string position(const std::string& key) const { return position(own.at(key)); }

  Words list(const std::string& key, Words absent) const;
  std::string text(const std::string& key, const std::string& absent) const;
  bool is_on(const std::string& key) const;  // of a switch; without it false
  std::vector<std::int64_t> whole(const std::string& key, const Words& absent, std::int64_t low) const;
  std::int64_t one_whole(const std::string& key, std::int64_t absent, std::int64_t low, std::int64_t high) const;

  // Whether it names the data or the task; else they are those of the base's own run.
  bool gives_data() const { return train_option("data") != nullptr || train_option("task") != nullptr; }

  // ValueError for a key that changes no row of a study of these variants.
  void refuse_without_effect(const Words& variants) const;
};

// The values of an entry, one or several.
std::vector<std::string> values_of(const ConfigEntry& entry);

// Options that say what the data are and how they are read: of convert, train and eval.
bool is_data_option(const std::string& name);

// ValueError with file and line for what the study gives itself and for an array where train takes one value; IoError.
StudySettings read_study_settings(const std::string& path);

}  // namespace mixgrad::app
