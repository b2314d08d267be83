#include "nn/exchange/hugging_face/weight_files.h"

#include <system_error>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/files/strict_json.h"

namespace mixgrad {

namespace fs = std::filesystem;

bool holds_weight_files(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / kWeightsFile, error) || fs::exists(folder / kWeightsIndex, error);
}

std::map<std::string, std::string> read_weight_index(std::string_view text, const std::string& source) {
  const nlohmann::json root = parse_strict_json(text, source);
  const JsonPlace place{source, ""};
  const JsonPlace map_place = place.key("weight_map");
  const nlohmann::json& map = json_object(json_at(root, place, "weight_map"), map_place);
  if (map.empty()) map_place.wrong("an object that names the file of every tensor", map);
  std::map<std::string, std::string> files;
  for (const auto& item : map.items()) {
    const std::string& file = json_string(item.value(), map_place.key(item.key()));
    const bool stays = fs::path(file).filename() == fs::path(file) && file.find('\0') == std::string::npos;
    if (!stays || !file.ends_with(".safetensors")) {
      map_place.key(item.key()).wrong("the name of a .safetensors file beside the index", item.value());
    }
    files.emplace(item.key(), file);
  }
  return files;
}

WeightFiles WeightFiles::open(const fs::path& folder) {
  WeightFiles weights;
  std::error_code error;
  if (!fs::exists(folder / kWeightsIndex, error)) {
    weights.path_ = (folder / kWeightsFile).string();
    weights.files_.push_back(SafetensorsFile::open(weights.path_, SafetensorsTypes::any));
    for (const std::string& name : weights.files_[0].names()) weights.places_.emplace(name, 0);
    return weights;
  }
  weights.path_ = (folder / kWeightsIndex).string();
  std::map<std::string, std::size_t> opened;
  for (const auto& [name, file] : read_weight_index(read_text(weights.path_), weights.path_)) {
    const auto known = opened.find(file);
    if (known == opened.end()) {
      if (!fs::exists(folder / file, error)) {
        raise<FormatError>(weights.path_, ": every file that it names must be there; ", quote(file), ", which holds ",
                           quote(name), ", is missing; fetch it");
      }
      opened.emplace(file, weights.files_.size());
      weights.files_.push_back(SafetensorsFile::open(folder / file, SafetensorsTypes::any));
    }
    const std::size_t at = opened.at(file);
    if (!weights.files_[at].has(name)) {
      raise<FormatError>(weights.path_, ": tensor ", quote(name), " must be in ", quote(file),
                         ", which does not have it; fetch the index and the files of one version");
    }
    weights.places_.emplace(name, at);
  }
  return weights;
}

std::vector<std::string> WeightFiles::names() const {
  std::vector<std::string> all;
  for (const auto& item : places_) all.push_back(item.first);
  return all;
}

}  // namespace mixgrad
