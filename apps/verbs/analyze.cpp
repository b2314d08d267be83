// mixgrad analyze: what the heads of a trained model do on a text that it has not seen.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "apps/data/analysis_data.h"
#include "apps/data/standard_input_data.h"
#include "apps/options/model_options.h"
#include "apps/options/placement_options.h"
#include "apps/options/training_options.h"
#include "apps/output/error_line.h"
#include "apps/output/json_line.h"
#include "apps/output/table.h"
#include "apps/output/version.h"
#include "apps/run/run_ranks.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/text/plural.h"
#include "nn/analysis/head_statistics.h"
#include "nn/distributed/agreement.h"
#include "nn/files/hash.h"
#include "nn/modules/finite_values.h"
#include "nn/training/checkpoint.h"

namespace mixgrad::app {
namespace {

// "0", "1", "2-3", "4-7", ... of attention_profile
std::string distance_title(std::size_t range) {
  if (range < 2) return std::to_string(range);
  const std::int64_t from = std::int64_t{1} << (range - 1);
  return std::to_string(from) + "-" + std::to_string(2 * from - 1);
}

// Of each value its place, from 1, in descending or ascending order; equal ones in their order.
std::vector<std::int64_t> places(const std::vector<double>& values, bool descending) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return descending ? values[a] > values[b] : values[a] < values[b];
  });
  std::vector<std::int64_t> result(values.size());
  for (std::size_t i = 0; i < order.size(); ++i) result[order[i]] = static_cast<std::int64_t>(i) + 1;
  return result;
}

class Analyze : public Verb {
 public:
  std::string summary() const override {
    return "Where the softmax heads of a trained model look, and which groups it could do without (analyze heads)";
  }
  std::string example() const override { return "mixgrad analyze heads --checkpoint runs/char --window 16"; }

  void declare(OptionSet& options) override {
    options.add_choice(what_, {{"heads",
                                "recency ratio, first token, entropy and distances of each head, the loss without each "
                                "group, and how the two rankings agree"}});
    options.add("checkpoint", checkpoint_, "Folder of a run, or one generation of it", {.value = "DIR"});
    options.add("window", window_, {0, kMaxContext},
                "k of the recency ratio: tokens before a token; 0 = 64, at most a quarter of the context");
    options.add("sequences", sequences_, kCount, "Sequences of the model's context, at most as many as the text has");
    text_.declare_data(
        options, OnResume::not_stored, OnResume::not_stored,
        useless_when([this] { return text_.data.empty(); }, "without --data the data are read as the run read them"));
    text_.declare_unknown(options);
    text_.declare_task(options, OnResume::not_stored,
                       useless_when([this] { return !text_.data.empty(); }, "--data gives what is analysed"));
    options.add("split", split_, {"valid", "train", "all"},
                "valid: the last 10 % of the tokens; train: the rest; all: every token",
                {.group = OptionGroup::data,
                 .useless = useless_when([this] { return !text_.task.empty(); }, "a task is not split"),
                 .given = &split_given_});
    declare_threads(options, threads_);
    placement_.declare(options, {"f32", "f64", "bf16"}, "Type of the arithmetic");
    options.add_flag("json", json_, "JSON on stdout, one object a line");
    declare_timeout(options, timeout_, started_alone());
  }

  int run() override {
    return run_in_job(join_options(timeout_, checkpoint_),
                      [this](Communicator& ranks) { return analyze(ranks.alone() ? nullptr : &ranks); });
  }

 private:
  int analyze(Communicator* ranks) {
    if (checkpoint_.empty()) raise<ValueError>("analyze: --checkpoint DIR is required: the folder of a training run");
    if (ranks != nullptr) refuse_standard_input("analyze", text_.data, ranks->size());
    if (ranks != nullptr) require_same_options(*ranks);
    placement_.check_device();
    const ContextScope scope(placement_.context(threads_));
    const TemporaryInput input(text_.data, text_.source);
    const Checkpoint trained = load_checkpoint(checkpoint_, placement_.model_placement());
    Decoder& model = *trained.model;
    if (softmax_groups(model.config()).empty()) {
      raise<ValueError>("analyze heads: a model with softmax heads is required; ", checkpoint_,
                        " has none, beside those of a shortcut; choose another checkpoint");
    }
    const AnalysisData data = open_analysis_data("analyze", checkpoint_, trained.tokenizer, text_);
    if (data.is_task() && split_given_) {
      raise<ValueError>("--split cannot be given here: ", checkpoint_, " was trained on the task ", data.source(),
                        ", and a task is not split; leave it out");
    }
    const SampledSequences sample = data.sample(split_, model.config().context, sequences_);
    if (sample.count < sequences_) {
      say("the text has " + count_text(sample.count, "sequence") + " of " + count_text(sample.length, "token") +
          " only, fewer than the " + std::to_string(sequences_) + " asked for");
    }
    const std::int64_t k =
        window_ > 0 ? window_ : std::min<std::int64_t>(64, std::max<std::int64_t>(1, model.config().context / 4));
    if (ranks != nullptr) {
      require_same(*ranks, {{"the weights, as XXH3,", weights_hash(model)},
                            {"the sequences, as XXH3,", sequences_hash(sample)}});
    }
    loss_ = mean_loss(model, sample, ranks);
    if (!std::isfinite(loss_)) raise_not_finite("analyze heads", "the loss", loss_, model.parameters());
    const HeadStatistics heads = head_statistics(model, sample, k, ranks);
    const std::vector<double> losses = losses_without_groups(model, sample, ranks);
    if (!json_) print_title(heads, data.is_task() ? data.source() : "split " + split_ + " of " + data.source());
    print_heads(heads);
    print_groups(heads, losses);
    if (!json_) print_map(heads);
    return kOk;
  }

  // Each rank runs its share of the batches, so all must have the same ones. The texts themselves are compared later.
  void require_same_options(Communicator& ranks) const {
    require_same(ranks, {{"the program", version_text()},
                         {"the device", placement_.where().is_cpu() ? "cpu" : "cuda"},
                         {"--precision", placement_.precision},
                         {"--matmul-precision", placement_.matmul_precision},
                         {"--split", split_},
                         {"--window", std::to_string(window_)},
                         {"--sequences", std::to_string(sequences_)}});
  }

  static std::string sequences_hash(const SampledSequences& sample) {
    Xxh3 hash;
    for (const SampledSequences::Batch& batch : sample.batches) {
      for (const Tensor& ids : {batch.tokens, batch.targets}) hash.add(ids.raw(), ids.bytes());
    }
    return hash.hex();
  }

  void print_title(const HeadStatistics& heads, const std::string& source) const {
    std::printf("%s of %s, %s: loss %.4f nats a token\n", count_text(heads.sequences, "sequence").c_str(),
                count_text(heads.length, "token").c_str(), source.c_str(), loss_);
    std::printf(
        "recency: attention on a token itself and the k = %lld before it, mean over n = %lld positions; first: on the "
        "first token; entropy in nats; then attention by distance. In brackets: a head that looks at all it sees "
        "alike\n\n",
        static_cast<long long>(heads.window), static_cast<long long>(heads.length));
  }

  static TableCell beside(double value, double uniform) {
    char text[48];
    std::snprintf(text, sizeof text, "%.3f (%.3f)", value, uniform);
    return {value, text};
  }

  void print_heads(const HeadStatistics& heads) const {
    std::vector<TableColumn> columns{{.key = "layer", .number = true},
                                     {.key = "head", .number = true},
                                     {.key = "group", .number = true},
                                     {.key = "window", .number = true},
                                     {.key = "recency", .number = true},
                                     {.key = "uniform", .shown = ShownIn::json},
                                     {.key = "first", .number = true},
                                     {.key = "uniform_first", .shown = ShownIn::json},
                                     {.key = "entropy", .number = true},
                                     {.key = "uniform_entropy", .shown = ShownIn::json},
                                     {.key = "distance", .shown = ShownIn::json},
                                     {.key = "n", .shown = ShownIn::json},
                                     {.key = "k", .shown = ShownIn::json},
                                     {.key = "sequences", .shown = ShownIn::json}};
    const std::size_t ranges = heads.heads.front().by_distance.size();
    std::vector<std::string> titles;
    for (std::size_t r = 0; r < ranges; ++r) titles.push_back(distance_title(r));
    for (const std::string& title : titles) {
      columns.push_back({.key = title, .number = true, .format = "%.3f", .shown = ShownIn::text});
    }
    Table table(format_of(json_), columns);
    for (const HeadStatistic& head : heads.heads) {
      std::vector<TableCell> row{head.group.layer,
                                 head.head,
                                 head.group.group,
                                 {head.window, head.window == 0 ? "all" : std::to_string(head.window)},
                                 beside(head.recency, head.uniform_recency),
                                 head.uniform_recency,
                                 beside(head.first, head.uniform_first),
                                 head.uniform_first,
                                 beside(head.entropy, head.uniform_entropy),
                                 head.uniform_entropy,
                                 head.by_distance,
                                 heads.length,
                                 heads.window,
                                 heads.sequences};
      for (const double share : head.by_distance) row.emplace_back(share);
      table.add(row);
    }
    table.finish();
  }

  // In the order of the recency ratio, highest first; of the ablation the group comes first that the model misses
  // least.
  void print_groups(const HeadStatistics& heads, const std::vector<double>& losses) const {
    const std::vector<std::int64_t> by_recency = places(heads.group_recency, true);
    const std::vector<std::int64_t> by_ablation = places(losses, false);
    std::vector<double> missed;  // descending recency and ascending loss agree where these two rise together
    for (const double loss : losses) missed.push_back(-loss);
    const double agreement = spearman(heads.group_recency, missed);
    if (!json_) std::printf("\ngroups by recency; ablation: the loss when the heads of a group give nothing\n");
    Table table(format_of(json_), {{.key = "rank", .number = true},
                                   {.key = "layer", .number = true},
                                   {.key = "group", .number = true},
                                   {.key = "heads"},
                                   {.key = "group_recency", .title = "recency", .number = true, .format = "%.4f"},
                                   {.key = "loss_without", .title = "loss without", .number = true, .format = "%.4f"},
                                   {.key = "increase", .number = true, .format = "%+.4f"},
                                   {.key = "rank_by_ablation", .title = "rank by ablation", .number = true}});
    for (std::size_t place = 1; place <= losses.size(); ++place) {
      for (std::size_t i = 0; i < losses.size(); ++i) {
        if (by_recency[i] != static_cast<std::int64_t>(place)) continue;
        const SoftmaxGroup& group = heads.groups[i];
        std::string numbers;
        for (const std::int64_t head : group.heads) numbers += (numbers.empty() ? "" : " ") + std::to_string(head);
        table.add({by_recency[i],
                   group.id.layer,
                   group.id.group,
                   {group.heads, numbers},
                   heads.group_recency[i],
                   losses[i],
                   losses[i] - loss_,
                   by_ablation[i]});
      }
    }
    table.finish();
    if (json_) {
      print_json(
          {{"loss", loss_},
           {"rank_correlation", std::isnan(agreement) ? nlohmann::ordered_json() : nlohmann::ordered_json(agreement)},
           {"groups", losses.size()},
           {"n", heads.length},
           {"k", heads.window},
           {"sequences", heads.sequences},
           {"split", split_}});
    } else if (std::isnan(agreement)) {
      std::printf("\nthe two rankings cannot be compared: one of them has all groups alike\n");
    } else {
      std::printf("\nrank correlation (Spearman) of the two rankings: %.3f\n", agreement);
    }
  }

  // A sign for each softmax group in its place, of ten from 0 to 1.
  static void print_map(const HeadStatistics& heads) {
    constexpr const char* kSigns = " .:-=+*#%@";
    std::printf("\nrecency of each group from 0 to 1 as one of \"%s\"; other heads and shortcuts are left out\n",
                kSigns);
    for (std::size_t i = 0; i < heads.groups.size(); ++i) {
      const SoftmaxGroup& group = heads.groups[i];
      if (group.index == 0)
        std::printf("%slayer %-3lld |", i == 0 ? "" : "|\n", static_cast<long long>(group.id.layer));
      std::printf("%c", kSigns[std::clamp(static_cast<int>(heads.group_recency[i] * 10), 0, 9)]);
    }
    std::printf("|\n");
  }

  ModelOptions text_;
  PlacementOptions placement_;
  std::string what_, checkpoint_, split_ = "valid";
  bool split_given_ = false;
  std::int64_t window_ = 0, sequences_ = 64, threads_ = 0;
  double loss_ = 0;  // of the whole model
  double timeout_ = kTimeout;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::analyze() { return std::make_unique<Analyze>(); }

}  // namespace mixgrad::app
