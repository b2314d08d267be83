#include "apps/verbs/inspect_attention.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "apps/output/json_line.h"
#include "apps/output/terminal.h"
#include "core/error.h"
#include "core/text/utf8.h"
#include "nn/analysis/hsm_paths.h"
#include "nn/analysis/mamba_decay.h"
#include "nn/config/kinds/hsm.h"
#include "nn/mixers/attention_mixer.h"
#include "nn/modules/finite_values.h"

namespace mixgrad::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kTokensAtOnce = 8192;  // of a long text, in whole sequences

// As it stands in a table: quoted, the bytes of a token that is a part of a character as \xNN.
std::string shown(const std::string& piece) {
  return is_utf8(piece) ? printable(json_line(piece)) : "\"" + printable(piece) + "\"";
}

}  // namespace

bool needs_text(const Decoder& model) {
  for (std::size_t l = 0; l < model.config().layers.size(); ++l) {
    if (model.mixer(l).softmax_heads() > 0) return true;
  }
  return false;
}

namespace {

long long number(std::int64_t value) { return value; }  // for printf

// The mean over some queries of the mass of each source, and of the effective depth.
struct MeanMass {
  std::vector<double> mass;
  double depth = 0;

  explicit MeanMass(std::int64_t sources) : mass(static_cast<std::size_t>(sources)) {}

  // Adds query `row`, one of `count`, and returns its masses.
  std::vector<double> add(const DepthMass& of, std::int64_t row, std::int64_t count) {
    std::vector<double> values;
    for (std::size_t m = 0; m < mass.size(); ++m) {
      values.push_back(of.mass.at(row * of.mass.cols() + static_cast<std::int64_t>(m)));
      mass[m] += values.back() / static_cast<double>(count);
    }
    depth += of.effective_depth.at(row) / static_cast<double>(count);
    return values;
  }

  void print() const {
    for (const double value : mass) std::printf(" %6.3f", value);
    std::printf(" %8.3f\n", depth);
  }
};

class AttentionReport {
 public:
  AttentionReport(const Decoder& model, const Tokenizer& tokenizer, std::int64_t window, bool json)
      : model_(model), tokenizer_(tokenizer), window_(window), json_(json) {}

  void read(std::vector<std::int32_t> ids) {
    ids_ = std::move(ids);
    const auto count = static_cast<std::int64_t>(ids_.size());
    length_ = std::min(count, model_.config().context);
    sequences_ = count / length_;
    require_finite_model();
    if (json_) return;
    std::printf("%lld tokens in %lld sequence%s of %lld", number(count), number(sequences_), sequences_ == 1 ? "" : "s",
                number(length_));
    const std::int64_t rest = count % length_;
    if (rest > 0) std::printf("; the last %s left out", rest == 1 ? "one is" : (std::to_string(rest) + " are").c_str());
    std::printf("\n");
  }

  void print() const {
    if (ids_.empty()) {
      require_finite_model();
    } else {
      print_recency();
      print_depth();
    }
    print_shifts();
    print_decays();
  }

 private:
  // Lags and decay times come from the parameters alone: a few tokens show whether the model computes at all.
  void require_finite_model() const {
    const std::int64_t few = std::min<std::int64_t>(model_.config().context, 8);
    const Tensor tokens =
        ids_.empty() ? Tensor::zeros({1, few}, DType::i32)
                     : Tensor::from_i32(std::span(ids_).first(static_cast<std::size_t>(length_)), {1, length_});
    require_finite_logits(model_.logits(tokens), model_.parameters(), "inspect attention");
  }

  // NotFinite that names a parameter.
  void require_finite(const std::vector<double>& means) const {
    for (const double mean : means) {
      if (!std::isfinite(mean)) raise_not_finite("inspect attention", "the attention", mean, model_.parameters());
    }
  }

  // use(tokens [B,T]) for the sequences of the text, a few at a time.
  template <class Use>
  void for_each_batch(const Use& use) const {
    const std::int64_t most = std::max<std::int64_t>(1, kTokensAtOnce / length_);
    for (std::int64_t first = 0; first < sequences_; first += most) {
      const std::int64_t count = std::min(most, sequences_ - first);
      const auto begin = static_cast<std::size_t>(first * length_);
      const auto tokens = static_cast<std::size_t>(count * length_);
      use(Tensor::from_i32(std::span(ids_).subspan(begin, tokens), {count, length_}));
    }
  }

  // The mean over all sequences of each layer's ratios; empty for a layer without softmax heads.
  std::vector<std::vector<double>> recency() const {
    std::vector<std::vector<double>> means(model_.config().layers.size());
    for_each_batch([&](const Tensor& tokens) {
      const std::vector<Tensor> ratios = model_.recency(tokens, window_);
      const double share = static_cast<double>(tokens.dim(0)) / static_cast<double>(sequences_);
      for (std::size_t l = 0; l < ratios.size(); ++l) {
        if (!ratios[l].defined()) continue;
        means[l].resize(static_cast<std::size_t>(ratios[l].numel()));
        for (std::size_t h = 0; h < means[l].size(); ++h) {
          means[l][h] += share * ratios[l].at(static_cast<std::int64_t>(h));
        }
      }
    });
    for (const std::vector<double>& heads : means) require_finite(heads);
    return means;
  }

  // One line per layer with softmax heads.
  void print_recency() const {
    const std::vector<std::vector<double>> ratios = recency();
    if (std::all_of(ratios.begin(), ratios.end(), [](const auto& heads) { return heads.empty(); })) return;
    const std::int64_t n = length_;
    const double uniform = uniform_recency(n, window_);
    if (!json_) {
      std::printf(
          "\nrecency ratio of each softmax head: attention on a token itself and the k = %lld before it, mean over n = "
          "%lld positions\na head that looks at all tokens alike has %.3f\n",
          number(window_), number(n), uniform);
    }
    for (std::size_t l = 0; l < ratios.size(); ++l) {
      if (ratios[l].empty()) continue;
      if (json_) {
        print_json({{"layer", l}, {"recency", ratios[l]}, {"n", n}, {"k", window_}, {"uniform", uniform}});
        continue;
      }
      std::printf("layer %-3zu", l);
      for (const double ratio : ratios[l]) std::printf(" %6.3f", ratio);
      std::printf("\n");
    }
  }

  // Of the shortcut: one line per token of the first sequence, mean over the heads.
  void print_depth() const {
    const auto& shortcut = model_.config().shortcut;
    if (!shortcut) return;
    if (shortcut->concat == ShortcutConcat::feature) {
      if (!json_) std::printf("\nno depth mass: in a shortcut of concat feature every key is made of all sources\n");
      return;
    }
    if (!json_) {
      std::printf(
          "\ndepth mass of the shortcut, mean over the heads: attention on each source (0 = the embedding, m = what "
          "m layers have made of it)\n%-19s",
          "  t     id token");
      for (const std::int64_t source : shortcut->sources) std::printf(" %6lld", number(source));
      std::printf("  effective depth\n");
    }
    MeanMass mean(static_cast<std::int64_t>(shortcut->sources.size()));
    bool first = true;
    for_each_batch([&](const Tensor& tokens) {
      const DepthMass depth = model_.depth_mass(tokens);  // [B,H,T,M]
      for (std::int64_t t = 0; first && t < length_; ++t) print_token(depth, t);
      first = false;
      const std::int64_t rows = depth.mass.rows() / tokens.dim(0) * sequences_;  // of all batches
      for (std::int64_t row = 0; row < depth.mass.rows(); ++row) mean.add(depth, row, rows);
    });
    require_finite(mean.mass);
    print_mean(mean);
  }

  // One token of the first sequence: the mass of each head, and in a table the mean over the heads.
  void print_token(const DepthMass& depth, std::int64_t t) const {
    const std::int64_t heads = depth.mass.dim(1);
    const std::int64_t steps = depth.mass.dim(2);
    const std::int32_t id = ids_[static_cast<std::size_t>(t)];
    const std::string text = tokenizer_.piece(id);
    MeanMass mean(depth.mass.cols());
    Json of_heads = Json::array();
    for (std::int64_t h = 0; h < heads; ++h) of_heads.push_back(mean.add(depth, h * steps + t, heads));
    if (json_) {
      print_json({{"token", t},
                  {"id", id},
                  {"text", is_utf8(text) ? text : printable(text)},
                  {"depth_mass", of_heads},
                  {"effective_depth", mean.depth}});
      return;
    }
    std::printf("%3lld %6lld %s", number(t), number(id), padded(shown(text), 8).c_str());
    mean.print();
  }

  // Over all heads, sequences and positions.
  void print_mean(const MeanMass& mean) const {
    if (json_) {
      print_json({{"sources", model_.config().shortcut->sources},
                  {"mean_depth_mass", mean.mass},
                  {"mean_effective_depth", mean.depth}});
      return;
    }
    std::printf("%-19s", "all");
    mean.print();
  }

  // Of shift-mixing layers (nn/analysis/hsm_paths.h): what they shift by, and one line per lag.
  void print_shifts() const {
    constexpr std::int64_t kLags = 4096;  // more are cut off
    const HsmPaths report = hsm_paths(model_, kLags);
    if (report.layers.empty()) return;
    Json shifts = Json::array();
    for (const std::int64_t l : report.layers) shifts.push_back(shift_layer(l).shifts);
    if (json_) {
      print_json({{"shift_layers", report.layers}, {"shifts", shifts}, {"receptive_field", report.receptive_field}});
    } else {
      std::printf("\nshift mixing\n%5s  %-12s shifts of its heads\n", "layer", "variant");
      for (const std::int64_t l : report.layers) {
        std::printf("%5lld  %-12s", number(l), to_string(shift_layer(l).variant).c_str());
        for (const std::int64_t shift : shift_layer(l).shifts) std::printf(" %lld", number(shift));
        std::printf("\n");
      }
      std::printf("receptive field of these layers: %lld tokens\n\n%8s %10s %12s\n", number(report.receptive_field),
                  "lag", "paths", "weight");
    }
    for (std::size_t lag = 0; lag < report.paths.size(); ++lag) print_lag(report, lag);
    if (!json_)
      std::printf(
          "means over the channels, without norms and MLPs; lags that no path reaches are left out; weights where all "
          "layers have a and b\n");
  }

  const HsmConfig& shift_layer(std::int64_t l) const {
    return model_.config().layers[static_cast<std::size_t>(l)].get<HsmConfig>();
  }

  void print_lag(const HsmPaths& report, std::size_t lag) const {
    const bool weighted = !report.weights.empty();
    if (json_) {
      print_json(
          {{"lag", lag}, {"paths", report.paths[lag]}, {"weight", weighted ? Json(report.weights[lag]) : Json()}});
    } else if (report.paths[lag] == 0) {
      return;  // no path reaches this lag
    } else if (weighted) {
      std::printf("%8zu %10.3f %12.6f\n", lag, report.paths[lag], report.weights[lag]);
    } else {
      std::printf("%8zu %10.3f %12s\n", lag, report.paths[lag], "-");
    }
  }

  // Of Mamba heads: one line per head.
  void print_decays() const {
    const std::vector<MambaDecay> heads = mamba_decays(model_.parameters(), model_.config());
    if (heads.empty()) return;
    if (!json_) {
      std::printf(
          "\nMamba heads: tokens until a channel's longest memory is down to 1/e, at the step it takes by "
          "itself\n%-16s "
          "%9s %9s %9s\n",
          "", "shortest", "median", "longest");
    }
    for (const MambaDecay& head : heads) {
      if (json_) {
        print_json({{"layer", head.layer},
                    {"head", head.head},
                    {"decay_shortest", head.shortest},
                    {"decay_longest", head.longest}});
        continue;
      }
      std::vector<double> sorted = head.longest;
      std::sort(sorted.begin(), sorted.end());
      std::printf("layer %-3lld head %-2lld %9.1f %9.1f %9.1f\n", number(head.layer), number(head.head), sorted.front(),
                  sorted[sorted.size() / 2], sorted.back());
    }
  }

  const Decoder& model_;
  const Tokenizer& tokenizer_;
  std::vector<std::int32_t> ids_;  // of the text; empty without one
  std::int64_t length_ = 0;        // tokens of a sequence
  std::int64_t sequences_ = 0;
  std::int64_t window_;
  bool json_;
};

}  // namespace

void inspect_attention(const Decoder& model, const Tokenizer& tokenizer, std::vector<std::int32_t> ids,
                       std::int64_t window, bool json) {
  if (ids.empty() && needs_text(model)) {
    raise<ValueError>(
        "inspect attention: a text with at least one token is required for a model with softmax heads; give one with "
        "--text TEXT, --text-file FILE or --data FILE");
  }
  if (!needs_text(model) && hsm_paths(model, 1).layers.empty() &&
      mamba_decays(model.parameters(), model.config()).empty()) {
    raise<ValueError>(
        "inspect attention: the model must have softmax heads, shift-mixing layers or Mamba heads; it has none; choose "
        "another --mixer");
  }
  AttentionReport report(model, tokenizer, window, json);
  if (!ids.empty()) report.read(std::move(ids));
  report.print();
}

}  // namespace mixgrad::app
