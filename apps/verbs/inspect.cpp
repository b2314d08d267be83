// mixgrad inspect: a model, the tape of one step, where its layers look.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/options/model_options.h"
#include "apps/options/option_value.h"
#include "apps/options/training_options.h"
#include "apps/options/verb.h"
#include "apps/output/json_line.h"
#include "apps/output/text_table.h"
#include "apps/verbs/inspect_attention.h"
#include "core/error.h"
#include "nn/training/checkpoint.h"
#include "nn/training/training.h"

namespace mixgrad::app {
namespace {

class Inspect : public Verb {
 public:
  std::string name() const override { return "inspect"; }
  std::string summary() const override {
    return "Look into a model (inspect model, inspect attention) or one training step (inspect tape)";
  }
  std::string example() const override { return "mixgrad inspect model --preset char"; }

  void declare(OptionSet& options) override {
    options.add_positional("what", what_,
                           "model: parameters, operations and state of each layer; tape: one step; attention: where a "
                           "model looks: recency "
                           "ratios and depth mass on a text, lags of shift mixing, decay times of Mamba heads");
    options.add_presets(model_presets());
    model_.declare(options);
    training_.declare(options);
    options.add("checkpoint", checkpoint_, "A trained model instead of the options");
    options.add("text", text_, "inspect attention: the text that softmax heads read");
    options.add("recency", recency_, {0, kMaxContext},
                "inspect attention: k of the recency ratio, tokens before a token");
    options.add_flag("json", json_, "JSON, one object per line");
  }

  std::string without_effect(const std::string& option) const override {
    const bool reads = !what_.empty() && what_[0] == "attention";
    if (!reads && (option == "text" || option == "recency")) return "it belongs to inspect attention";
    return checkpoint_.empty() ? std::string() : ModelOptions::decided_by_checkpoint(option);
  }

  int run() override {
    check_word("inspect", what_, {"model", "tape", "attention"});
    training_.check();
    training_.placement.check_device();
    const ContextScope scope(training_.context());
    std::unique_ptr<Decoder> model;
    TokenizerPtr tokenizer;
    if (checkpoint_.empty()) {
      tokenizer = model_.open_data().tokenizer_ptr();
      model = std::make_unique<Decoder>(model_.config(tokenizer->vocab_size()), training_.place(), model_.hsm_scale);
      model->parameters().initialize(training_.seed);
    } else {
      Checkpoint trained = load_checkpoint(checkpoint_, training_.place());
      tokenizer = trained.tokenizer;
      model = std::move(trained.model);
    }
    if (what_[0] == "model") print_model(*model);
    if (what_[0] == "tape") print_tape(*model);
    if (what_[0] == "attention") inspect_attention(*model, *tokenizer, text_, recency_, json_);
    return kOk;
  }

 private:
  void print_model(const Decoder& model) const {
    print_parameters(model.parameters());
    std::vector<LayerReport> rows = model.report();
    LayerReport total{"total", model.parameters().count(), 0, 0};
    for (const LayerReport& row : rows) {
      total.operations += row.operations;
      total.state_bytes += row.state_bytes;
    }
    rows.push_back(total);
    print_parts(rows);
    if (!json_) {
      std::printf(
          "operations: forward, per token at %lld tokens; a training step takes three times as many. "
          "state: one sequence of that length while decoding, %s\n",
          static_cast<long long>(model.config().context), dtype_name(model.dtype()));
    }
  }

  void print_parameters(const ParameterSet& parameters) const {
    TextTable table({{"parameter"}, {"shape"}, {"numbers", true}, {"decay"}});
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Parameter& p = parameters[i];
      if (json_) {
        nlohmann::ordered_json row;
        row["parameter"] = p.name;
        row["shape"] = nlohmann::ordered_json::array();
        for (int axis = 0; axis < p.shape.rank(); ++axis) row["shape"].push_back(p.shape[axis]);
        row["decay"] = p.decay;
        print_json(row);
      } else {
        table.add_row({p.name, p.shape.str(), std::to_string(p.shape.numel()), p.decay ? "yes" : "no"});
      }
    }
    if (!json_) std::printf("%s\n", table.text().c_str());
  }

  void print_parts(const std::vector<LayerReport>& rows) const {
    TextTable table({{"part"}, {"parameters", true}, {"operations", true}, {"state bytes", true}});
    for (const LayerReport& part : rows) {
      if (json_) {
        nlohmann::ordered_json row;
        row["part"] = part.what;
        row["parameters"] = part.parameters;
        row["operations_per_token"] = part.operations;
        row["state_bytes"] = part.state_bytes;
        print_json(row);
      } else {
        table.add_row({part.what, std::to_string(part.parameters),
                       std::to_string(static_cast<std::int64_t>(part.operations)), std::to_string(part.state_bytes)});
      }
    }
    if (!json_) std::printf("%s", table.text().c_str());
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
        print_json(row);
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

  std::vector<std::string> what_;
  ModelOptions model_;
  TrainingOptions training_;
  std::string checkpoint_, text_;
  std::int64_t recency_ = 4;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_inspect() { return std::make_unique<Inspect>(); }

}  // namespace mixgrad::app
