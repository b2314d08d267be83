// mixgrad inspect: a model, the tape of one step, and where its shift-mixing layers look.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/model_options.h"
#include "apps/option_value.h"
#include "apps/training_options.h"
#include "apps/verb.h"
#include "core/error.h"
#include "nn/checkpoint.h"
#include "nn/hsm_paths.h"
#include "nn/training.h"

namespace mixgrad::app {
namespace {

class Inspect : public Verb {
 public:
  std::string name() const override { return "inspect"; }
  std::string summary() const override {
    return "Look into a model (inspect model, inspect shifts) or one training step (inspect tape)";
  }
  std::string example() const override { return "mixgrad inspect model --preset char"; }

  void declare(OptionSet& options) override {
    options.add_positional(
        "what", what_,
        "model: parameters, operations and state of each layer; tape: one step; shifts: the lags that "
        "shift-mixing layers reach");
    options.add_presets(model_presets());
    model_.declare(options);
    training_.declare(options);
    options.add("checkpoint", checkpoint_, "A trained model instead of the options");
    options.add_flag("json", json_, "JSON, one object per line");
  }

  std::string without_effect(const std::string& option) const override {
    return checkpoint_.empty() ? std::string() : ModelOptions::decided_by_checkpoint(option);
  }

  int run() override {
    check_word("inspect", what_, {"model", "tape", "shifts"});
    training_.check();
    training_.apply_threads();
    std::unique_ptr<Decoder> model;
    if (checkpoint_.empty()) {
      model = std::make_unique<Decoder>(model_.config(model_.open_data().tokenizer().vocab_size()), training_.dtype(),
                                        model_.hsm_scale);
      model->parameters().initialize(training_.seed);
    } else {
      model = std::move(load_checkpoint(checkpoint_, training_.dtype()).model);
    }
    if (what_[0] == "model") print_model(*model);
    if (what_[0] == "tape") print_tape(*model);
    if (what_[0] == "shifts") print_shifts(*model);
    return kOk;
  }

 private:
  void print_model(const Decoder& model) const {
    const ParameterSet& parameters = model.parameters();
    if (!json_) std::printf("%-40s %-14s %12s  decay\n", "parameter", "shape", "numbers");
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Parameter& p = parameters[i];
      if (json_) {
        nlohmann::ordered_json row;
        row["parameter"] = p.name;
        row["shape"] = nlohmann::json::parse(p.shape.str());
        row["decay"] = p.decay;
        std::printf("%s\n", row.dump().c_str());
      } else {
        std::printf("%-40s %-14s %12lld  %s\n", p.name.c_str(), p.shape.str().c_str(),
                    static_cast<long long>(p.shape.numel()), p.decay ? "yes" : "no");
      }
    }
    if (!json_) std::printf("\n%-64s %12s %14s %12s\n", "part", "parameters", "operations", "state bytes");
    double operations = 0;
    std::size_t state = 0;
    for (const LayerReport& row : model.report()) {
      operations += row.operations;
      state += row.state_bytes;
      print_part(row.what, row.parameters, row.operations, row.state_bytes);
    }
    print_part("total", parameters.count(), operations, state);
    if (!json_) {
      std::printf(
          "operations: forward, per token at %lld tokens; a training step takes three times as many. "
          "state: one sequence of that length while decoding, %s\n",
          static_cast<long long>(model.config().context), dtype_name(model.dtype()));
    }
  }

  void print_part(const std::string& what, std::int64_t parameters, double operations, std::size_t state) const {
    if (json_) {
      nlohmann::ordered_json row;
      row["part"] = what;
      row["parameters"] = parameters;
      row["operations_per_token"] = operations;
      row["state_bytes"] = state;
      std::printf("%s\n", row.dump().c_str());
    } else {
      std::printf("%-64s %12lld %14.0f %12zu\n", what.c_str(), static_cast<long long>(parameters), operations, state);
    }
  }

  void print_tape(Decoder& model) const {
    const Shape shape{training_.batch, model.config().context};
    const Tensor tokens = Tensor::zeros(shape, DType::i32);
    Tape tape;
    model.parameters().watch(tape);
    const Tensor loss = model.loss(tokens, tokens);
    std::size_t total = 0;
    int number = 0;
    if (!json_) std::printf("%4s %-22s %-28s %12s  saved\n", "", "op", "output", "saved bytes");
    for (const TapeEntryReport& entry : tape.report()) {
      total += entry.saved_bytes;
      std::string saved;
      for (const Shape& s : entry.saved) saved += (saved.empty() ? "" : " ") + s.str();
      std::string outputs;
      for (const Shape& s : entry.outputs) outputs += (outputs.empty() ? "" : " ") + s.str();
      if (json_) {
        nlohmann::ordered_json row;
        row["op"] = entry.op;
        row["outputs"] = outputs;
        row["saved_bytes"] = entry.saved_bytes;
        row["saved"] = saved;
        std::printf("%s\n", row.dump().c_str());
      } else {
        std::printf("%4d %-22s %-28s %12zu  %s\n", number, entry.op.c_str(), outputs.c_str(), entry.saved_bytes,
                    saved.c_str());
      }
      ++number;
    }
    if (!json_) {
      std::printf(
          "%d entries for tokens %s; saved in all %zu bytes, counting a tensor once for each entry that saves it "
          "(parameters too)\n",
          number, shape.str().c_str(), total);
    }
  }

  void print_shifts(const Decoder& model) const {
    constexpr std::int64_t kLags = 4096;  // more are cut off
    const HsmPaths report = hsm_paths(model, kLags);
    if (report.layers.empty()) {
      raise<ValueError>(
          "inspect shifts: the model must have a shift-mixing layer; it has none; choose another --mixer");
    }
    if (!json_) {
      std::printf("%5s  %-12s shifts of its heads\n", "layer", "variant");
      for (const std::int64_t l : report.layers) {
        const auto& layer = std::get<HsmConfig>(model.config().layers[static_cast<std::size_t>(l)]);
        std::printf("%5lld  %-12s", static_cast<long long>(l), to_string(layer.variant).c_str());
        for (const std::int64_t shift : layer.shifts) std::printf(" %lld", static_cast<long long>(shift));
        std::printf("\n");
      }
      std::printf("receptive field of these layers: %lld tokens\n\n%8s %10s %12s\n",
                  static_cast<long long>(report.receptive_field), "lag", "paths", "weight");
    }
    for (std::size_t lag = 0; lag < report.paths.size(); ++lag) {
      const bool weighted = !report.weights.empty();
      if (json_) {
        nlohmann::ordered_json row;
        row["lag"] = lag;
        row["paths"] = report.paths[lag];
        row["weight"] = weighted ? nlohmann::ordered_json(report.weights[lag]) : nlohmann::ordered_json();
        std::printf("%s\n", row.dump().c_str());
      } else if (weighted) {
        std::printf("%8zu %10.3f %12.6f\n", lag, report.paths[lag], report.weights[lag]);
      } else {
        std::printf("%8zu %10.3f %12s\n", lag, report.paths[lag], "-");
      }
    }
    if (!json_) std::printf("means over the channels, without norms and MLPs; weights where all layers have a and b\n");
  }

  std::vector<std::string> what_;
  ModelOptions model_;
  TrainingOptions training_;
  std::string checkpoint_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_inspect() { return std::make_unique<Inspect>(); }

}  // namespace mixgrad::app
