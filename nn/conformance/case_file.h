// A conformance case: one .safetensors file of the format mixgrad-conformance-1, read strictly.
//   metadata   format, config (as config.json), train (the optimizer's settings as JSON), recency_window
//   in.tokens, in.targets i32 [K,B,T];  param.NAME;  out.logits, out.loss, out.step_losses;  grad.NAME;  after.NAME;
//   probe.recency.LAYER, probe.depth_mass
// Every error is a FormatError (or IoError) that names the file.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "nn/config/model_config.h"
#include "nn/files/safetensors.h"
#include "nn/modules/parameter.h"

namespace mixgrad {

class CaseFile {
 public:
  explicit CaseFile(const std::filesystem::path& path);

  const std::string& path() const { return file_.path(); }
  const std::vector<std::string>& names() const { return file_.names(); }
  bool has(const std::string& name) const { return file_.has(name); }
  Tensor read(const std::string& name) const { return file_.read(name); }
  Tensor read_as(const std::string& name, const Shape& shape, DType dtype) const {
    return file_.read_as(name, shape, dtype);
  }

  ModelConfig config() const;
  std::string meta(const std::string& key) const;
  std::int64_t integer(const std::string& text, const std::string& where) const;  // at least 0

  // Compares names and shapes with those that the model has: before the model's memory is asked for.
  void check_tensors(const std::map<std::string, Shape>& parameters) const;
  void read_parameters(ParameterSet& parameters) const;
  // Whether the file has tensors PREFIX*; then it must have one for every parameter.
  bool has_part(const std::string& prefix, const ParameterSet& parameters) const;

  void read_batches();                                     // before the next three
  std::int64_t batches() const { return tokens_.dim(0); }  // K
  Tensor tokens(std::int64_t k) const { return batch(tokens_, k); }
  Tensor targets(std::int64_t k) const { return batch(targets_, k); }

  std::string optimizer() const;                       // of the metadata `train`; adamw where it names none
  double train_setting(const std::string& key) const;  // a number of it

 private:
  static Tensor batch(const Tensor& all, std::int64_t k) {
    return all.slice(k, k + 1).reshape({all.dim(1), all.dim(2)});
  }

  SafetensorsFile file_;
  Tensor tokens_, targets_;
};

}  // namespace mixgrad
