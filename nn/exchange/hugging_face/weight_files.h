// The tensors of a Hugging Face folder: model.safetensors, or the files that model.safetensors.index.json names.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "nn/files/safetensors.h"

namespace mixgrad {

inline constexpr const char* kWeightsFile = "model.safetensors";
inline constexpr const char* kWeightsIndex = "model.safetensors.index.json";

// Whether the folder has either of the two.
bool holds_weight_files(const std::filesystem::path& folder);

// {"metadata": ..., "weight_map": {"tensor": "file"}}: tensor -> name of a file beside the index. FormatError: not of
// this form, or a name that leaves the folder.
std::map<std::string, std::string> read_weight_index(std::string_view text, const std::string& source);

class WeightFiles {
 public:
  // FormatError: a file that the index names is missing, or lacks a tensor that the index says it has.
  static WeightFiles open(const std::filesystem::path& folder);

  const std::string& path() const { return path_; }  // of the one file, or of the index; for errors
  std::vector<std::string> names() const;
  bool has(const std::string& name) const { return places_.count(name) > 0; }
  const SafetensorsFile& file_of(const std::string& name) const { return files_.at(places_.at(name)); }
  const SafetensorsFile::Entry& entry(const std::string& name) const { return file_of(name).entry(name); }
  Tensor read(const std::string& name) const { return file_of(name).read(name); }

 private:
  std::string path_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::size_t> places_;  // tensor -> file
};

}  // namespace mixgrad
