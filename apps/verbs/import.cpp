// mixgrad import: a model of another program becomes a folder of mixgrad.
#include "nn/exchange/import.h"

#include <algorithm>
#include <cstdio>

#include "apps/output/json_line.h"
#include "apps/output/table.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/config/layer_json.h"
#include "nn/config/layer_kind.h"
#include "nn/exchange/format.h"

namespace mixgrad::app {
namespace {

// "attention(heads=8,kv_heads=4)".
std::string layer_text(const LayerConfig& layer) {
  std::string text;
  const nlohmann::ordered_json stored = layer_json(layer);
  for (const auto& item : stored.items()) {
    if (item.key() == "mixer") continue;
    text += (text.empty() ? "" : ",") + item.key() + "=" + item.value().dump();
  }
  return layer.kind().name + "(" + text + ")";
}

// "5, 64 wide: attention(heads=8,kv_heads=4)", and of layers that differ how many are of each kind.
std::string layers_text(const ModelConfig& config) {
  std::vector<std::pair<std::string, std::int64_t>> kinds;
  for (const LayerConfig& layer : config.layers) {
    const std::string text = layer_text(layer);
    const auto known = std::find_if(kinds.begin(), kinds.end(), [&](const auto& kind) { return kind.first == text; });
    known == kinds.end() ? kinds.emplace_back(text, 1).second : ++known->second;
  }
  std::string text = std::to_string(config.layers.size()) + ", " + std::to_string(config.d_model) + " wide: ";
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    text += (i == 0 ? "" : ", ") + (kinds.size() > 1 ? std::to_string(kinds[i].second) + " of " : "") + kinds[i].first;
  }
  return text;
}

class Import : public Verb {
 public:
  std::string summary() const override { return "Make a model of another program a model of this one"; }
  std::string example() const override {
    return "mixgrad import stories260K.bin --tokenizer tok512.bin --out runs/stories";
  }

  void declare(OptionSet& options) override {
    std::string what;
    for (const ExchangeFormat& format : exchange_formats()) what += (what.empty() ? "" : "; ") + format.summary;
    options.add_files("SOURCE", sources_, "What to import: " + what);
    options.add("out", out_, "Folder for the model, which must not exist or be empty",
                {.value = "DIR", .not_empty = true});
    options.add("tokenizer", tokenizer_,
                "File or folder with the tokenizer; without it that of the source; none: the model takes token ids",
                {.group = OptionGroup::data, .value = "FILE|DIR|none", .not_empty = true});
    options.add("context", context_, {0, kMaxContext},
                "Tokens of a sequence, at most those of the source; 0 = those of the source, or " +
                    std::to_string(kUsualContext) + " where it has none (Mamba)",
                {.group = OptionGroup::model});
    options.add_flag("json", json_, "One JSON object on stdout");
  }

  int run() override {
    if (sources_.size() != 1) raise<ValueError>("import: one SOURCE is required; got ", sources_.size());
    if (out_.empty()) raise<ValueError>("import: --out DIR is required: the folder for the model");
    print(import_model({.source = sources_[0], .out = out_, .tokenizer = tokenizer_, .context = context_}));
    return kOk;
  }

 private:
  void print(const ImportReport& report) const {
    const ModelConfig& config = report.config;
    const auto number = [](std::int64_t value) { return std::to_string(value); };
    const auto layers = static_cast<std::int64_t>(config.layers.size());
    print_figures(format_of(json_),
                  {{.key = "format", .value = report.format, .label = "format", .text = report.format, .number = false},
                   {.key = "kind", .value = report.kind, .label = "kind", .text = report.kind, .number = false},
                   {.key = "layers", .value = layers, .label = "layers", .text = layers_text(config), .number = false},
                   {.key = "parameters",
                    .value = report.parameters,
                    .label = "parameters",
                    .text = number(report.parameters) + " of type " + report.weights,
                    .number = false},
                   {.key = "vocab_size",
                    .value = config.vocab_size,
                    .label = "vocabulary",
                    .text = number(config.vocab_size),
                    .number = false},
                   {.key = "context",
                    .value = config.context,
                    .label = "context",
                    .text = number(config.context),
                    .number = false},
                   {.key = "tokenizer",
                    .value = json_text(report.tokenizer),
                    .label = "tokenizer",
                    .text = report.tokenizer,
                    .number = false},
                   {.key = "decisions", .value = report.decisions, .label = "", .text = "", .shown = ShownIn::json},
                   {.key = "out", .value = json_text(out_), .label = "written to", .text = out_, .number = false}});
    if (json_) return;
    for (const std::string& decision : report.decisions) std::printf("- %s\n", decision.c_str());
  }

  std::vector<std::string> sources_;
  std::string out_, tokenizer_;
  std::int64_t context_ = 0;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::import() { return std::make_unique<Import>(); }

}  // namespace mixgrad::app
