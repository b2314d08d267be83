#include "nn/conformance/case_file.h"

#include <algorithm>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/text/parse_number.h"
#include "nn/files/strict_json.h"
#include "nn/training/optimizers/registry.h"

namespace mixgrad {
namespace {

bool is_known(const std::string& name, const std::map<std::string, Shape>& parameters) {
  for (const std::string part : {"param.", "grad.", "after."}) {
    if (name.starts_with(part)) return parameters.count(name.substr(part.size())) > 0;
  }
  const std::set<std::string> others = {"in.tokens", "in.targets", "out.logits", "out.loss", "out.step_losses"};
  return name.starts_with("probe.recency.") || name == "probe.depth_mass" || others.count(name) > 0;
}

}  // namespace

CaseFile::CaseFile(const std::filesystem::path& path) : file_(SafetensorsFile::open(path)) {
  if (meta("format") != "mixgrad-conformance-1") {
    raise<FormatError>(path.string(), ": metadata 'format' must be mixgrad-conformance-1, got '", meta("format"), "'");
  }
}

ModelConfig CaseFile::config() const { return parse_model_config(meta("config"), path() + " (metadata config)"); }

std::string CaseFile::meta(const std::string& key) const {
  const auto found = file_.metadata().find(key);
  if (found == file_.metadata().end()) {
    raise<FormatError>(path(), ": metadata '", key, "' is required and missing; is this a conformance case?");
  }
  return found->second;
}

std::int64_t CaseFile::integer(const std::string& text, const std::string& where) const {
  const std::optional<std::int64_t> value = parse_integer(text);
  if (!value || *value < 0) {
    raise<FormatError>(path(), ": ", where, " must hold an integer of at least 0, found '", text, "'");
  }
  return *value;
}

void CaseFile::check_tensors(const std::map<std::string, Shape>& parameters) const {
  for (const std::string& name : names()) {
    if (!is_known(name, parameters)) {
      raise<FormatError>(path(), ": tensor '", name, "' is neither of the model in the config nor of this format");
    }
  }
  for (const auto& [name, shape] : parameters) {
    const auto& entry = file_.entry("param." + name);
    if (!(entry.shape == shape)) {
      raise<FormatError>(path(), ": tensor 'param.", name, "' must be ", shape, " by the config, found ", entry.shape);
    }
  }
}

void CaseFile::read_parameters(ParameterSet& parameters) const {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    file_.read_into("param." + parameters[i].name, parameters[i].master);
  }
  parameters.refresh();
}

void CaseFile::read_batches() {
  tokens_ = read("in.tokens");
  targets_ = read("in.targets");
  const auto good = [](const Tensor& t) { return t.shape().rank() == 3 && t.dtype() == DType::i32; };
  if (!good(tokens_) || !good(targets_) || !(tokens_.shape() == targets_.shape())) {
    raise<FormatError>(path(), ": in.tokens and in.targets must be i32 [K,B,T] of one shape, got ", tokens_.shape(),
                       " and ", targets_.shape());
  }
}

bool CaseFile::has_part(const std::string& prefix, const ParameterSet& parameters) const {
  const auto in_part = [&](const std::string& name) { return name.starts_with(prefix); };
  if (std::none_of(names().begin(), names().end(), in_part)) return false;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::string name = prefix + parameters[i].name;
    if (!has(name)) raise<FormatError>(path(), ": tensor '", name, "' is required and missing");
  }
  return true;
}

std::string CaseFile::optimizer() const {
  const JsonPlace where{path() + " (metadata train)", ""};
  const nlohmann::json settings = parse_strict_json(meta("train"), where.source);
  if (!settings.contains("optimizer")) return kDefaultOptimizer;
  return json_string(settings["optimizer"], where.key("optimizer"));
}

double CaseFile::train_setting(const std::string& key) const {
  const JsonPlace where{path() + " (metadata train)", ""};
  const nlohmann::json settings = parse_strict_json(meta("train"), where.source);
  const nlohmann::json& value = json_at(settings, where, key);
  if (!value.is_number()) where.key(key).wrong("a number", value);
  return value.get<double>();
}

}  // namespace mixgrad
