#include "apps/inspection/inspect_attention.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "apps/inspection/inspect_shifts.h"
#include "apps/output/json_line.h"
#include "apps/output/terminal.h"
#include "core/error.h"
#include "core/text/plural.h"
#include "core/text/utf8.h"
#include "nn/analysis/mamba_decay.h"
#include "nn/analysis/shift_head_list.h"
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

bool needs_text(const Decoder& model, const HeadSelection& selection) {
  for (std::size_t l = 0; l < model.config().layers.size(); ++l) {
    for (const std::int64_t head : softmax_head_numbers(model, l)) {
      if (selection.takes(l, head)) return true;
    }
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
  AttentionReport(const Decoder& model, const Tokenizer& tokenizer, const InspectAttention& options)
      : model_(model),
        tokenizer_(tokenizer),
        selection_(options.selection),
        window_(options.window),
        json_(options.json) {}

  void read(std::vector<std::int32_t> ids) {
    ids_ = std::move(ids);
    const auto count = static_cast<std::int64_t>(ids_.size());
    length_ = std::min(count, model_.config().context);
    sequences_ = count / length_;
    require_finite_model();
    if (json_) return;
    std::printf("%s in %s of %lld", count_text(count, "token").c_str(), count_text(sequences_, "sequence").c_str(),
                number(length_));
    const std::int64_t rest = count % length_;
    if (rest > 0) std::printf("; the last %s left out", rest == 1 ? "one is" : (std::to_string(rest) + " are").c_str());
    if (!needs_text(model_, {})) std::printf("; the model has no softmax heads that read them");
    std::printf("\n");
  }

  void print() const {
    if (ids_.empty()) {
      require_finite_model();
    } else {
      print_recency();
      print_depth();
    }
    print_shifts(model_, selection_, json_);
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

  // The ratios of the selected heads, by layer.
  std::vector<std::vector<double>> selected_recency() const {
    std::vector<std::vector<double>> ratios = recency();
    for (std::size_t l = 0; l < ratios.size(); ++l) {
      if (ratios[l].empty()) continue;
      const std::vector<std::int64_t> numbers = softmax_head_numbers(model_, l);
      std::vector<double> selected;
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        if (selection_.takes(l, numbers[i])) selected.push_back(ratios[l][i]);
      }
      ratios[l] = std::move(selected);
    }
    return ratios;
  }
  // How many tokens they see; 0: all.
  std::vector<std::int64_t> selected_windows(std::size_t layer) const {
    const std::vector<std::int64_t> numbers = softmax_head_numbers(model_, layer);
    const std::vector<std::int64_t> windows = model_.mixer(layer).softmax_windows();
    std::vector<std::int64_t> selected;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      if (selection_.takes(layer, numbers[i])) selected.push_back(windows[i]);
    }
    return selected;
  }
  // Their numbers in the layer.
  std::vector<std::int64_t> heads_of(std::size_t layer) const {
    std::vector<std::int64_t> numbers = softmax_head_numbers(model_, layer);
    std::erase_if(numbers, [&](std::int64_t head) { return !selection_.takes(layer, head); });
    return numbers;
  }

  // One line per layer with softmax heads.
  void print_recency() const {
    const std::vector<std::vector<double>> ratios = selected_recency();
    if (std::all_of(ratios.begin(), ratios.end(), [](const auto& heads) { return heads.empty(); })) return;
    const std::int64_t n = length_;
    const double uniform = uniform_recency(n, window_);
    if (!json_) {
      std::printf(
          "\nrecency ratio of each softmax head: attention on a token itself and the k = %lld before it, mean over n = "
          "%s\na head that looks at all tokens alike has %.3f\n",
          number(window_), count_text(n, "position").c_str(), uniform);
    }
    for (std::size_t l = 0; l < ratios.size(); ++l) {
      if (ratios[l].empty()) continue;
      const std::vector<std::int64_t> windows = selected_windows(l);
      const bool any = std::any_of(windows.begin(), windows.end(), [](std::int64_t window) { return window > 0; });
      std::vector<double> uniforms;  // of a head that looks at all it sees alike
      for (const std::int64_t window : windows) uniforms.push_back(uniform_recency(n, window_, window));
      if (json_) {
        Json row{{"layer", l}, {"heads", heads_of(l)}, {"recency", ratios[l]},
                 {"n", n},     {"k", window_},         {"uniform", uniform}};
        if (any) {
          row["windows"] = windows;
          row["uniform_of_heads"] = uniforms;
        }
        print_json(row);
        continue;
      }
      std::printf("layer %-3zu", l);
      for (const double ratio : ratios[l]) std::printf(" %6.3f", ratio);
      std::printf("\n");
      if (any) print_windows(windows, uniforms);
    }
  }

  // Of a layer with heads that see a window only: how many tokens, and what such a head has that looks at them alike.
  static void print_windows(const std::vector<std::int64_t>& windows, const std::vector<double>& uniforms) {
    std::printf("%-9s", " window");
    for (const std::int64_t window : windows) {
      std::printf(" %6s", window == 0 ? "all" : std::to_string(window).c_str());
    }
    std::printf("\n%-9s", " uniform");
    for (const double uniform : uniforms) std::printf(" %6.3f", uniform);
    std::printf("\n");
  }

  // Of the shortcut: one line per token of the first sequence, mean over the heads.
  void print_depth() const {
    const auto& shortcut = model_.config().shortcut;
    if (!shortcut || !selection_.takes_layer(model_.config().layers.size() - 1)) return;
    if (shortcut->concat == ShortcutConcat::feature) {
      if (!json_) std::printf("\nno depth mass: in a shortcut of concat feature every key is made of all sources\n");
      return;
    }
    if (!json_) {
      const std::string heads =
          selection_.head == HeadSelection::kAll ? "mean over the heads" : "head " + std::to_string(selection_.head);
      std::printf(
          "\ndepth mass of the shortcut, %s: attention on each source (0 = the embedding, m = what m layers have made "
          "of it)\n%-19s",
          heads.c_str(), "  t     id token");
      for (const std::int64_t source : shortcut->sources) std::printf(" %6lld", number(source));
      std::printf("  effective depth\n");
    }
    MeanMass mean(static_cast<std::int64_t>(shortcut->sources.size()));
    bool first = true;
    for_each_batch([&](const Tensor& tokens) {
      const DepthMass depth = model_.depth_mass(tokens);  // [B,H,T,M]
      for (std::int64_t t = 0; first && t < length_; ++t) print_token(depth, t);
      first = false;
      const std::int64_t heads = depth.mass.dim(1);
      const std::int64_t rows = sequences_ * selected_of(heads) * depth.mass.dim(2);  // of all batches
      for (std::int64_t row = 0; row < depth.mass.rows(); ++row) {
        if (selection_.takes_head(row / depth.mass.dim(2) % heads)) mean.add(depth, row, rows);
      }
    });
    require_finite(mean.mass);
    print_mean(mean);
  }

  std::int64_t selected_of(std::int64_t heads) const { return selection_.head == HeadSelection::kAll ? heads : 1; }

  // One token of the first sequence: the mass of each head, and in a table the mean over the heads.
  void print_token(const DepthMass& depth, std::int64_t t) const {
    const std::int64_t heads = depth.mass.dim(1);
    const std::int64_t steps = depth.mass.dim(2);
    const std::int32_t id = ids_[static_cast<std::size_t>(t)];
    const std::string text = tokenizer_.piece(id);
    MeanMass mean(depth.mass.cols());
    Json of_heads = Json::array();
    for (std::int64_t h = 0; h < heads; ++h) {
      if (selection_.takes_head(h)) of_heads.push_back(mean.add(depth, h * steps + t, selected_of(heads)));
    }
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

  std::vector<MambaDecay> selected_decays() const {
    std::vector<MambaDecay> heads = mamba_decays(model_.parameters(), model_.config());
    std::erase_if(heads, [&](const MambaDecay& head) {
      return !selection_.takes(static_cast<std::size_t>(head.layer), head.head);
    });
    return heads;
  }

  // Of Mamba heads: one line per head.
  void print_decays() const {
    const std::vector<MambaDecay> heads = selected_decays();
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
  HeadSelection selection_;
  std::vector<std::int32_t> ids_;  // of the text; empty without one
  std::int64_t length_ = 0;        // tokens of a sequence
  std::int64_t sequences_ = 0;
  std::int64_t window_;
  bool json_;
};

}  // namespace

void inspect_attention(const Decoder& model, const Tokenizer& tokenizer, std::vector<std::int32_t> ids,
                       const InspectAttention& options) {
  if (ids.empty() && needs_text(model, options.selection)) {
    raise<ValueError>(
        "inspect attention: a text with at least one token is required for a model with softmax heads; give one with "
        "--text TEXT, --text-file FILE or --data FILE");
  }
  if (!needs_text(model, {}) && shift_head_list(model).empty() &&
      mamba_decays(model.parameters(), model.config()).empty()) {
    raise<ValueError>(
        "inspect attention: the model must have softmax heads, shift heads or Mamba heads; it has none; choose another "
        "model");
  }
  AttentionReport report(model, tokenizer, options);
  if (!ids.empty()) report.read(std::move(ids));
  report.print();
}

}  // namespace mixgrad::app
