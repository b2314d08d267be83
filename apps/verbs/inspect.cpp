// mixgrad inspect: prints a model, the tape of one step, or where the layers look.
#include <cstdio>

#include "apps/data/standard_input_data.h"
#include "apps/generation/prompt.h"
#include "apps/inspection/inspect_attention.h"
#include "apps/options/model_options.h"
#include "apps/options/training_options.h"
#include "apps/output/table.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/text/plural.h"
#include "nn/analysis/hsm_paths.h"
#include "nn/training/checkpoint.h"
#include "nn/training/train_step.h"

namespace mixgrad::app {
namespace {

class Inspect : public Verb {
 public:
  std::string summary() const override {
    return "Look into a model (inspect model, inspect attention) or one training step (inspect tape)";
  }
  std::string example() const override { return "mixgrad inspect model --preset char"; }

  void declare(OptionSet& options) override {
    options.add_choice(what_, {{"model", "parameters, operations and state of each layer"},
                               {"tape", "the operators of one training step and the tensors that they save"},
                               {"attention",
                                "where a model looks: recency ratios and depth mass on a text, lags of shift mixing, "
                                "decay times of Mamba heads"}});
    options.add("checkpoint", checkpoint_, "A trained model instead of the options",
                {.value = "DIR", .loads_checkpoint = true});
    options.add("text", text_, "The text that softmax heads read, of any length; - for stdin",
                {.only_for = {"attention"}});
    options.add("text-file", text_file_, "File with that text; without one it is that of --data",
                {.value = "FILE",
                 .not_empty = true,
                 .useless = useless_when([this] { return !text_.empty(); }, "--text gives the text"),
                 .only_for = {"attention"}});
    options.add("recency", attention_.window, {0, kMaxContext}, "k of the recency ratio: tokens before a token",
                {.only_for = {"attention"}, .given = &recency_given_});
    options.add("layer", attention_.selection.layer, {HeadSelection::kAll, kMaxLayers - 1},
                "Only this layer, counted from 0; -1 = all", {.only_for = {"attention"}});
    options.add("head", attention_.selection.head, {HeadSelection::kAll, kMaxHeads - 1},
                "Only this head of each layer, counted from 0; -1 = all", {.only_for = {"attention"}});
    options.add("seed", training_.seed, "Seed of the initial weights",
                {.decided_by = DecidedBy::checkpoint, .only_for = {"attention"}});
    options.add_flag("json", json_, "JSON on stdout, one object a line");
    options.add_presets(model_presets(), PresetUse::partial);
    model_.declare_data(
        options, OnResume::not_stored, OnResume::not_stored,
        useless_when([this] { return model_.data.empty() && !checkpoint_.empty(); }, "no --data are given"));
    model_.declare_model(options);
    training_.declare_batch(options, {"tape"});
    training_.declare_placement(options);
  }

  int run() override {
    training_.check();
    training_.placement.check_device();
    const ContextScope scope(training_.context());
    const std::vector<std::string> data = model_.data;
    if (!checkpoint_.empty() && !data.empty() && what_ != "attention") {
      refuse_data("the checkpoint has its vocabulary");
    }
    if (!checkpoint_.empty() && !data.empty() && (!text_.empty() || !text_file_.empty())) {
      refuse_data(text_file_.empty() ? "--text gives the text" : "--text-file gives the text");
    }
    refuse_useless_reading();
    std::unique_ptr<Decoder> model;
    TokenizerPtr tokenizer;
    const TemporaryInput input(model_.data, model_.source);
    if (checkpoint_.empty()) {
      tokenizer = model_.open_data().tokenizer_ptr();
      model = std::make_unique<Decoder>(model_.config(tokenizer->vocab_size()), training_.model_placement());
      model_.initialize(*model, training_.seed);
    } else {
      Checkpoint trained = load_checkpoint(checkpoint_, training_.model_placement());
      tokenizer = trained.tokenizer;
      model = std::move(trained.model);
    }
    if (what_ == "model") print_model(*model);
    if (what_ == "tape") print_tape(*model);
    if (what_ == "attention") {
      check_heads(*model);
      attention_.json = json_;
      inspect_attention(*model, *tokenizer, text_tokens(*model, tokenizer), attention_);
    }
    return kOk;
  }

 private:
  [[noreturn]] void refuse_data(const std::string& reason) const {
    raise<ValueError>("inspect ", what_, ": --data cannot be given here: ", reason, "; leave it out");
  }

  // Nothing is split here; and but for `attention` the data give their vocabulary alone.
  void refuse_useless_reading() const {
    const auto refuse = [&](const char* option, const char* reason) {
      raise<ValueError>("inspect ", what_, ": ", option, " cannot be given here: ", reason, "; leave it out");
    };
    const bool sources = model_.source.valid_choice().kind == ValidChoice::Kind::sources;
    if (!model_.source.valid.empty() && !sources) refuse("--valid", "nothing is split");
    if (what_ != "attention" && !model_.source.document_token.empty()) {
      refuse("--document-token", "the data only give the vocabulary");
    }
  }

  void check_heads(const Decoder& model) const {
    try {
      check_selection(model, attention_.selection);
      hsm_paths(model, 1, attention_.selection);
    } catch (const ValueError& error) {
      raise<ValueError>("inspect attention: ", error.what(), " with --layer and --head");
    }
  }

  // The tokens of --text or --text-file, or those of --data where there are heads that read a text.
  std::vector<std::int32_t> text_tokens(const Decoder& model, const TokenizerPtr& known) const {
    const Tokenizer& tokenizer = *known;
    if (!needs_text(model, attention_.selection)) {
      refuse_useless_text();
      refuse_useless_recency();
    }
    if (text_ == "-") return encode_typed(tokenizer, read_typed_file(text_, "--text"), "--text -");
    if (!text_.empty()) return encode_typed(tokenizer, text_, "--text");
    if (!text_file_.empty()) return file_tokens(tokenizer, "--text-file", text_file_);
    // Without softmax heads that of --data gives a new model its vocabulary alone.
    const bool read = !model_.data.empty() && needs_text(model, attention_.selection);
    return read ? data_tokens(known) : std::vector<std::int32_t>();
  }

  // Of a model without softmax heads a text that was typed still shows whether the model computes; that is said.
  void refuse_useless_text() const {
    const HeadSelection& selection = attention_.selection;
    const bool all = selection.layer == HeadSelection::kAll && selection.head == HeadSelection::kAll;
    const bool typed = !text_.empty() || !text_file_.empty();
    const bool of_data = !model_.data.empty() && !checkpoint_.empty();
    if (!of_data && (all || !typed)) return;
    raise<ValueError>("inspect attention: ",
                      !text_.empty()        ? "--text"
                      : !text_file_.empty() ? "--text-file"
                                            : "--data",
                      " cannot be given here: ", all ? "the model has" : "--layer and --head leave",
                      " no softmax heads that read a text; leave it out");
  }
  void refuse_useless_recency() const {
    if (!recency_given_) return;
    const HeadSelection& selection = attention_.selection;
    const bool all = selection.layer == HeadSelection::kAll && selection.head == HeadSelection::kAll;
    raise<ValueError>(
        "inspect attention: --recency cannot be given here: ", all ? "the model has" : "--layer and --head leave",
        " no softmax heads, whose ratio it belongs to; leave it out");
  }
  // A single text of any length, or all tokens of other sources.
  std::vector<std::int32_t> data_tokens(const TokenizerPtr& known) const {
    const DataSpec spec = model_.data_spec();
    if (is_single_text(spec, find_sources(spec.sources))) return file_tokens(*known, "--data", spec.sources[0]);
    const TokenData data = model_.open_data(known);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(data.size()));
    data.gather(0, data.size(), ids.data());
    return ids;
  }
  static std::vector<std::int32_t> file_tokens(const Tokenizer& tokenizer, const std::string& option,
                                               const std::string& path) {
    const std::string text = read_typed_file(path, option);
    if (text.empty()) raise<ValueError>(option, " ", path, ": at least one character is required; the file is empty");
    return encode_typed(tokenizer, text, option + " " + path);
  }

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
          "operations: forward, per token at a length of %s; a training step takes three times as many. "
          "state: one sequence of that length while decoding, %s\n",
          count_text(model.config().context, "token").c_str(), dtype_name(model.dtype()));
    }
  }

  void print_parameters(const ParameterSet& parameters) const {
    Table table(format_of(json_), {{.key = "parameter"},
                                   {.key = "shape"},
                                   {.key = "numbers", .number = true, .shown = ShownIn::text},
                                   {.key = "decay"}});
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Parameter& p = parameters[i];
      std::vector<std::int64_t> shape;
      for (int axis = 0; axis < p.shape.rank(); ++axis) shape.push_back(p.shape[axis]);
      table.add({p.name, {shape, p.shape.str()}, p.shape.numel(), {p.decay, p.decay ? "yes" : "no"}});
    }
    table.finish();
    if (!json_) std::printf("\n");
  }

  void print_parts(const std::vector<LayerReport>& rows) const {
    Table table(format_of(json_),
                {{.key = "part"},
                 {.key = "parameters", .number = true},
                 {.key = "operations_per_token", .title = "operations", .number = true, .format = "%.0f"},
                 {.key = "state_bytes", .title = "state bytes", .number = true}});
    for (const LayerReport& part : rows) table.add({part.what, part.parameters, part.operations, part.state_bytes});
    table.finish();
  }

  void print_tape(Decoder& model) const {
    const Shape shape{training_.batch, model.config().context};
    const Tensor tokens = Tensor::zeros(shape, DType::i32);
    Tape tape;
    model.parameters().watch(tape);
    const Tensor loss = model.loss(tokens, tokens);
    std::size_t total = 0;
    int number = 0;
    Table table(format_of(json_), {{.key = "number", .title = " ", .number = true, .shown = ShownIn::text},
                                   {.key = "op"},
                                   {.key = "outputs", .title = "output"},
                                   {.key = "saved_bytes", .title = "saved bytes", .number = true},
                                   {.key = "saved"}});
    const auto joined = [](const std::vector<Shape>& shapes) {
      std::string text;
      for (const Shape& s : shapes) text += (text.empty() ? "" : " ") + s.str();
      return text;
    };
    for (const TapeEntryReport& entry : tape.report()) {
      total += entry.saved_bytes;
      table.add({number++, entry.op, joined(entry.outputs), entry.saved_bytes, joined(entry.saved)});
    }
    table.finish();
    if (!json_) {
      std::printf(
          "%d %s for tokens %s; saved in all %zu bytes, counting a tensor once for each entry that saves it "
          "(parameters too)\n",
          number, number == 1 ? "entry" : "entries", shape.str().c_str(), total);
    }
  }

  std::string what_;
  ModelOptions model_;
  TrainingOptions training_;
  std::string checkpoint_, text_, text_file_;
  InspectAttention attention_;
  bool json_ = false, recency_given_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::inspect() { return std::make_unique<Inspect>(); }

}  // namespace mixgrad::app
