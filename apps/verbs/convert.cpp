// mixgrad convert: a trained model with some of its softmax heads replaced.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/data/analysis_data.h"
#include "apps/data/checkpoint_text.h"
#include "apps/data/standard_input_data.h"
#include "apps/options/model_options.h"
#include "apps/options/placement_options.h"
#include "apps/output/error_line.h"
#include "apps/output/json_line.h"
#include "apps/output/table.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"
#include "nn/analysis/conversion/group_choice.h"
#include "nn/analysis/conversion/head_start.h"
#include "nn/analysis/head_statistics.h"
#include "nn/files/folder.h"
#include "nn/modules/finite_values.h"
#include "nn/training/checkpoint.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kCacheLengths[] = {1024, 8192, 65536};
constexpr std::int64_t kFittedTokens = 16'384;  // of the training part, on which from-attention is fitted

class Convert : public Verb {
 public:
  std::string summary() const override {
    return "Replace softmax heads of a trained model by Mamba heads (RecurFormer), windows or shift heads";
  }
  std::string example() const override {
    return "mixgrad convert --checkpoint runs/char --to recurformer --select fraction=0.5 --out runs/half";
  }

  void declare(OptionSet& options) override {
    options.add("checkpoint", checkpoint_, "Folder of a run, or one generation of it", {.value = "DIR"});
    options.add("out", out_, "Folder of the new model; must not exist", {.value = "DIR", .not_empty = true});
    options.add("to", to_, enum_names<HeadTarget>(),
                "What the heads become: Mamba heads, softmax heads that see a window, or shift heads");
    options.add("select", select_,
                "Which key/value groups: threshold=T (recency ratio at least T), fraction=F (the F with the highest "
                "ratio), lowest=F, random=F, ablation=F (those that the model misses least), groups=LAYER:GROUP,...",
                {.value = "RULE=VALUE", .not_empty = true});
    options.add(
        "init", init_, enum_names<HeadStart>(),
        "How the new heads start: as in a new model, near what the attention head gave, or giving nothing",
        {.useless = useless_when([this] { return to_ == "window"; }, "heads with a window keep their weights")});
    options.add("expand", expand_, {1, 2}, "Inner channels of a Mamba head per channel of the head",
                {.useless = useless_when([this] { return to_ != "recurformer"; }, "it belongs to --to recurformer")});
    options.add("window", window_, {0, kMaxContext},
                "k of the recency ratio, and the tokens that a head of --to window sees; 0 = 64, at most a quarter of "
                "the context",
                {.useless = useless_when([this] { return to_ != "window" && !selects_by_recency(); },
                                         "it belongs to --to window, and to a --select by recency")});
    options.add("sequences", sequences_, kCount, "Sequences of the context on which attention and loss are measured");
    options.add("seed", seed_, "Seed of the new heads' weights, and of --select random",
                {.useless = useless_when([this] { return to_ == "window" && !select_.starts_with("random"); },
                                         "heads with a window keep their weights, and nothing is drawn")});
    text_.declare_data(
        options, OnResume::not_stored, OnResume::not_stored,
        useless_when([this] { return text_.data.empty(); }, "without --data the data are read as the run read them"));
    text_.declare_unknown(options);
    text_.declare_task(options, OnResume::not_stored,
                       useless_when([this] { return !text_.data.empty(); }, "--data gives what is measured on"));
    declare_threads(options, threads_);
    placement_.declare(options, {"stored", "f32", "f64"},
                       "Type of the arithmetic and of the new checkpoint; stored: that of the checkpoint");
    options.add_flag("json", json_, "One JSON object on stdout");
  }

  int run() override {
    if (checkpoint_.empty()) raise<ValueError>("convert: --checkpoint DIR is required: the folder of a training run");
    if (out_.empty()) raise<ValueError>("convert: --out DIR is required: the folder of the new model");
    if (select_.empty()) {
      raise<ValueError>("convert: --select RULE=VALUE is required: which groups are replaced, such as fraction=0.5");
    }
    const GroupChoice choice = parse_choice();
    std::error_code error;
    if (fs::exists(fs::symlink_status(out_, error))) {
      raise<ValueError>("convert: --out must be a folder that does not exist; ", out_, " does; choose another one");
    }
    placement_.check_device();
    const ContextScope scope(placement_.context(threads_));
    const TemporaryInput input(text_.data, text_.source);
    const Checkpoint trained = load_in_type(checkpoint_, placement_);
    convert(trained, choice);
    return kOk;
  }

 private:
  bool selects_by_recency() const {
    try {
      return parse_group_choice(select_).asks_recency();
    } catch (const ValueError&) {  // reported when the command runs
      return true;
    }
  }

  GroupChoice parse_choice() const {
    try {
      return parse_group_choice(select_);
    } catch (const ValueError& error) {
      raise<ValueError>("convert: --select: ", error.what());
    }
  }

  // What is measured on a text, where there is one.
  struct Measured {
    SampledSequences sample;
    std::vector<double> recency, losses;  // of each group, where the choice asks
    double loss = 0;                      // of the model as it is
  };

  void convert(const Checkpoint& trained, const GroupChoice& choice) const {
    Decoder& model = *trained.model;
    const std::vector<SoftmaxGroup> groups = softmax_groups(model.config());
    if (groups.empty()) {
      raise<ValueError>("convert: a model with softmax heads is required; ", checkpoint_,
                        " has none, beside those of a shortcut; choose another checkpoint");
    }
    const auto start = parse_enum<HeadStart>(init_, "--init");
    const auto target = parse_enum<HeadTarget>(to_, "--to");
    const std::int64_t k =
        window_ > 0 ? window_ : std::min<std::int64_t>(64, std::max<std::int64_t>(1, model.config().context / 4));
    const bool fits = start == HeadStart::from_attention && target != HeadTarget::window;
    const std::optional<AnalysisData> data =
        open_text(trained, choice.asks_recency() || choice.asks_ablation() || fits);
    std::optional<Measured> measured;
    if (data) measured = measure(model, *data, choice, k);
    const std::vector<double> none;
    const std::vector<GroupId> chosen =
        chosen_groups(choice, groups, measured ? measured->recency : none, measured ? measured->losses : none, seed_);
    const ModelConfig config = converted_config(model.config(), chosen, {.to = target, .expand = expand_, .window = k});
    Decoder converted(config, {model.dtype(), model.device()});
    converted.parameters().initialize(seed_);
    copy_kept_parameters(model, converted);
    const std::vector<ReplacedHead> heads = replaced_heads(model.config(), config, target);
    std::vector<double> shares;
    if (start == HeadStart::zero_out) start_at_zero(converted, heads, target);
    if (fits && !heads.empty()) {
      const std::int64_t sequences = std::max<std::int64_t>(1, kFittedTokens / model.config().context);
      shares = start_from_attention(model, converted, heads, target,
                                    data->sample("train", model.config().context, sequences));
    }
    const double loss = measured ? mean_loss(converted, measured->sample) : 0;
    require_finite(loss, converted);
    write(converted, *trained.tokenizer);
    if (json_) return print_line(model, converted, chosen, measured, loss);
    print_choice(groups, chosen, choice, measured, shares_of(heads, shares), k);
    print_sizes(model, converted, measured, loss);
  }

  // The data of --data or --task, or the run's; none when there are none and none are needed.
  std::optional<AnalysisData> open_text(const Checkpoint& trained, bool needed) const {
    if (text_.data.empty() && text_.task.empty() && !needed && !knows_its_data(checkpoint_)) return std::nullopt;
    return open_analysis_data("convert", checkpoint_, trained.tokenizer, text_);
  }

  Measured measure(Decoder& model, const AnalysisData& data, const GroupChoice& choice, std::int64_t k) const {
    Measured measured{.sample = data.sample("valid", model.config().context, sequences_), .recency = {}, .losses = {}};
    measured.loss = mean_loss(model, measured.sample);
    require_finite(measured.loss, model);
    if (choice.asks_recency()) measured.recency = head_statistics(model, measured.sample, k).group_recency;
    if (choice.asks_ablation()) measured.losses = losses_without_groups(model, measured.sample);
    return measured;
  }

  static void require_finite(double loss, const Decoder& model) {
    if (!std::isfinite(loss)) raise_not_finite("convert", "the loss", loss, model.parameters());
  }

  // Of each group the mean share of its heads' outputs that the new ones give.
  static std::map<GroupId, double> shares_of(const std::vector<ReplacedHead>& heads,
                                             const std::vector<double>& shares) {
    std::map<GroupId, double> mean;
    std::map<GroupId, int> count;
    for (std::size_t i = 0; i < shares.size(); ++i) {
      mean[heads[i].group] += shares[i];
      ++count[heads[i].group];
    }
    for (auto& [group, share] : mean) share /= count[group];
    return mean;
  }

  void write(const Decoder& converted, const Tokenizer& tokenizer) const {
    std::vector<std::pair<std::string, Tensor>> tensors;
    const ParameterSet& parameters = converted.parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) tensors.emplace_back(parameters[i].name, parameters[i].master);
    ScratchFolder scratch(out_, "another mixgrad convert");
    write_model(scratch.path(), converted.config(), tokenizer, tensors);
    scratch.move_into_place();
  }

  void print_choice(const std::vector<SoftmaxGroup>& groups, const std::vector<GroupId>& chosen,
                    const GroupChoice& choice, const std::optional<Measured>& measured,
                    const std::map<GroupId, double>& shares, std::int64_t k) const {
    std::printf("%s: %zu of %s become %s heads, by %s\n", checkpoint_.c_str(), chosen.size(),
                count_text(static_cast<std::int64_t>(groups.size()), "softmax group").c_str(),
                to_ == "recurformer" ? "Mamba"
                : to_ == "window"    ? "windowed"
                                     : "shift",
                select_.c_str());
    if (measured && !measured->recency.empty()) {
      std::printf("recency: attention on a token itself and the k = %lld before it, %s of %s\n",
                  static_cast<long long>(k), count_text(measured->sample.count, "sequence").c_str(),
                  count_text(measured->sample.length, "token").c_str());
    }
    std::vector<TableColumn> columns{
        {.key = "layer", .number = true}, {.key = "group", .number = true}, {.key = "heads"}};
    const bool recency = choice.asks_recency();
    const bool ablation = choice.asks_ablation();
    if (recency) columns.push_back({.key = "recency", .number = true, .format = "%.4f"});
    if (ablation) columns.push_back({.key = "loss without", .number = true, .format = "%.4f"});
    columns.push_back({.key = "becomes"});
    if (!shares.empty()) columns.push_back({.key = "share of the output", .number = true, .format = "%.3f"});
    Table table(Format::text, columns);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const SoftmaxGroup& group = groups[i];
      std::string numbers;
      for (const std::int64_t head : group.heads) numbers += (numbers.empty() ? "" : " ") + std::to_string(head);
      std::vector<TableCell> row{group.id.layer, group.id.group, numbers};
      if (recency) row.emplace_back(measured->recency[i]);
      if (ablation) row.emplace_back(measured->losses[i]);
      const bool replaced = std::find(chosen.begin(), chosen.end(), group.id) != chosen.end();
      row.emplace_back(replaced ? to_ == "window"  ? "window of " + std::to_string(k)
                                  : to_ == "shift" ? "shift"
                                                   : "Mamba"
                                : std::string("stays"));
      if (!shares.empty()) {
        const auto found = shares.find(group.id);
        row.push_back(found == shares.end() ? TableCell(nlohmann::ordered_json(), "") : TableCell(found->second));
      }
      table.add(row);
    }
    table.finish();
  }

  void print_sizes(const Decoder& before, const Decoder& after, const std::optional<Measured>& measured,
                   double loss) const {
    std::printf("\n%-30s %14s %14s\n", "", "before", "after");
    std::printf("%-30s %14lld %14lld\n", "parameters", static_cast<long long>(before.parameters().count()),
                static_cast<long long>(after.parameters().count()));
    const std::int64_t context = before.config().context;
    for (const std::int64_t tokens : kCacheLengths) {
      std::printf("%-30s %14zu %14zu\n",
                  ("cache bytes at " + std::to_string(tokens) + " tokens" + (tokens > context ? " *" : "")).c_str(),
                  decoding_bytes(before.config(), tokens, before.dtype()),
                  decoding_bytes(after.config(), tokens, after.dtype()));
    }
    if (measured) std::printf("%-30s %14.4f %14.4f\n", "loss, nats a token", measured->loss, loss);
    if (context < kCacheLengths[2]) {
      std::printf("* more than the model's context of %lld: what a context of so many tokens would take\n",
                  static_cast<long long>(context));
    }
    std::printf(
        "%s; cache of one sequence in %s. Train on with: mixgrad train --checkpoint %s --out RUN --data SOURCE\n",
        out_.c_str(), dtype_name(after.dtype()), out_.c_str());
  }

  static void print_line(const Decoder& before, const Decoder& after, const std::vector<GroupId>& chosen,
                         const std::optional<Measured>& measured, double loss) {
    nlohmann::ordered_json line;
    line["replaced"] = nlohmann::ordered_json::array();
    for (const GroupId& id : chosen) line["replaced"].push_back({id.layer, id.group});
    line["parameters_before"] = before.parameters().count();
    line["parameters_after"] = after.parameters().count();
    for (const std::int64_t tokens : kCacheLengths) {
      line["cache_bytes"][std::to_string(tokens)] = {decoding_bytes(before.config(), tokens, before.dtype()),
                                                     decoding_bytes(after.config(), tokens, after.dtype())};
    }
    if (measured) {
      line["loss_before"] = measured->loss;
      line["loss_after"] = loss;
    }
    print_json(line);
  }

  ModelOptions text_;
  PlacementOptions placement_{.precision = "stored"};
  std::string checkpoint_, out_, to_ = "recurformer", select_, init_ = "default";
  std::int64_t expand_ = 1, window_ = 0, sequences_ = 64, threads_ = 0;
  std::uint64_t seed_ = 1;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::convert() { return std::make_unique<Convert>(); }

}  // namespace mixgrad::app
