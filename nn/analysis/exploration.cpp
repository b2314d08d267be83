#include "nn/analysis/exploration.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "nn/analysis/head_selection.h"
#include "nn/mixers/attention_mixer.h"
#include "nn/mixers/mixed_heads_mixer.h"
#include "nn/modules/finite_values.h"

namespace mixgrad {
namespace {

constexpr std::size_t kGuesses = 8;

// Row i of logits [1,T,V] as probabilities.
std::vector<double> probabilities(const Tensor& logits, std::int64_t row) {
  const std::int64_t vocabulary = logits.cols();
  std::vector<double> values(static_cast<std::size_t>(vocabulary));
  double largest = -std::numeric_limits<double>::infinity();
  for (std::int64_t v = 0; v < vocabulary; ++v) {
    values[static_cast<std::size_t>(v)] = logits.at(row * vocabulary + v);
    largest = std::max(largest, values[static_cast<std::size_t>(v)]);
  }
  double total = 0;
  for (double& value : values) {
    value = std::exp(value - largest);
    total += value;
  }
  for (double& value : values) value /= total;
  return values;
}

std::vector<Guess> likeliest(const std::vector<double>& of, std::size_t count) {
  std::vector<std::int32_t> order(of.size());
  std::iota(order.begin(), order.end(), 0);
  const std::size_t kept = std::min(count, of.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(),
                    [&](std::int32_t a, std::int32_t b) {
                      const double left = of[static_cast<std::size_t>(a)];
                      const double right = of[static_cast<std::size_t>(b)];
                      return left != right ? left > right : a < b;
                    });
  std::vector<Guess> guesses;
  for (std::size_t i = 0; i < kept; ++i) guesses.push_back({order[i], of[static_cast<std::size_t>(order[i])]});
  return guesses;
}

// The range of attention_profile that a distance falls into: 0, 1, 2-3, 4-7, ...
std::size_t range_of(std::int64_t distance) {
  std::size_t range = 0;
  for (; distance > 0; distance /= 2) ++range;
  return range;
}

HeadView view_of(const double* weights, std::int64_t tokens, std::int64_t near, std::int64_t window) {
  HeadView view;
  view.by_distance.resize(static_cast<std::size_t>(attention_ranges(tokens)));
  view.uniform_by_distance.resize(view.by_distance.size());
  view.uniform_recency = uniform_recency(tokens, near, window);
  for (std::int64_t i = 0; i < tokens; ++i) {
    const std::int64_t seen = window > 0 ? std::min(window, i + 1) : i + 1;
    for (std::int64_t d = 0; d <= i; ++d) {
      const double weight = weights[i * tokens + i - d] / static_cast<double>(tokens);
      view.by_distance[range_of(d)] += weight;
      view.distance += weight * static_cast<double>(d);
      if (d <= near) view.recency += weight;
      if (d >= seen) continue;
      view.uniform_distance += static_cast<double>(d) / static_cast<double>(seen * tokens);
      view.uniform_by_distance[range_of(d)] += 1 / static_cast<double>(seen * tokens);
    }
  }
  return view;
}

class Explorer {
 public:
  Explorer(const Decoder& model, const std::vector<std::int32_t>& tokens, std::int64_t recency_window)
      : model_(model), tokens_(Tensor::from_i32(tokens, {1, static_cast<std::int64_t>(tokens.size())})) {
    result_.tokens = tokens;
    result_.recency_window = recency_window;
  }

  Exploration explore() {
    const Tensor logits = model_.logits(tokens_).to(kCpu);
    result_.mamba = mamba_decays(model_.parameters(), model_.config());
    require_finite_logits(logits, model_.parameters(), "explore");
    for (std::int64_t i = 0; i < tokens_.dim(1); ++i) {
      const std::vector<double> of = probabilities(logits, i);
      result_.guesses.push_back(likeliest(of, kGuesses));
      if (i + 1 < tokens_.dim(1)) result_.losses.push_back(-std::log(of[next_of(i)]));
    }
    model_.visit(tokens_, [&](std::size_t layer, const Mixer& mixer, const LayerInput& input) {
      add_lens(model_.lens(input.normed.sum()).to(kCpu));
      add_heads(layer, mixer, input);
      add_mamba(layer, mixer, input);
    });
    add_lens(logits);
    result_.shift = shift_head_list(model_);
    if (!result_.shift.empty()) {
      result_.paths = hsm_paths(model_, tokens_.dim(1) - 1);
      result_.shift_paths = shift_paths(model_, tokens_.dim(1) - 1);
    }
    add_depth();
    return std::move(result_);
  }

 private:
  std::size_t next_of(std::int64_t i) const {
    return static_cast<std::size_t>(result_.tokens[static_cast<std::size_t>(i + 1)]);
  }

  void add_lens(const Tensor& logits) {
    std::vector<Guess> best;
    std::vector<double> of_next;
    for (std::int64_t i = 0; i < tokens_.dim(1); ++i) {
      const std::vector<double> of = probabilities(logits, i);
      best.push_back(likeliest(of, 1).front());
      of_next.push_back(i + 1 < tokens_.dim(1) ? of[next_of(i)] : std::numeric_limits<double>::quiet_NaN());
    }
    result_.lens.push_back(std::move(best));
    result_.lens_of_next.push_back(std::move(of_next));
  }

  void add_heads(std::size_t layer, const Mixer& mixer, const LayerInput& input) {
    const Tensor weights = mixer.softmax_weights(input);
    if (!weights.defined()) return;
    const std::vector<std::int64_t> numbers = softmax_head_numbers(model_, layer);
    const std::vector<std::int64_t> windows = mixer.softmax_windows();
    const std::int64_t pairs = weights.cols();
    for (std::size_t h = 0; h < numbers.size(); ++h) {
      const double* from = weights.data<double>() + static_cast<std::int64_t>(h) * pairs;
      SoftmaxHead head{.layer = static_cast<std::int64_t>(layer),
                       .head = numbers[h],
                       .window = windows[h],
                       .view = view_of(from, tokens_.dim(1), result_.recency_window, windows[h]),
                       .weights = {}};
      head.weights.assign(from, from + pairs);
      result_.softmax.push_back(std::move(head));
    }
  }

  void add_mamba(std::size_t layer, const Mixer& mixer, const LayerInput& input) {
    const auto* mixed = dynamic_cast<const MixedHeadsMixer*>(&mixer);
    if (mixed == nullptr) return;
    for (MambaAttention& attention : mamba_attention(mixed->mamba_selection(input))) {
      const MambaDecay& decay = result_.mamba.at(result_.mamba_heads.size());
      MambaHead head{static_cast<std::int64_t>(layer), decay.head, {}, std::move(attention), {}, 0};
      head.view = view_of(head.attention.weights.data(), tokens_.dim(1), result_.recency_window, 0);
      add_left_by_lag(head);
      result_.mamba_heads.push_back(std::move(head));
    }
  }

  void add_left_by_lag(MambaHead& head) const {
    const std::int64_t tokens = tokens_.dim(1);
    for (std::int64_t d = 0; d < tokens; ++d) {
      double left = 0;
      for (std::int64_t j = 0; j + d < tokens; ++j) {
        left += head.attention.left[static_cast<std::size_t>((j + d) * tokens + j)];
      }
      head.left_by_lag.push_back(left / static_cast<double>(tokens - d));
      if (head.half_life == 0 && head.left_by_lag.back() < 0.5) head.half_life = d;
    }
  }

  void add_depth() {
    const ModelConfig& config = model_.config();
    if (!config.shortcut || config.shortcut->concat == ShortcutConcat::feature) return;
    result_.sources = config.shortcut->sources;
    const DepthMass of = model_.depth_mass(tokens_);
    const Tensor mass = of.mass.to(kCpu);
    const Tensor effective = of.effective_depth.to(kCpu);
    const std::int64_t heads = mass.dim(1);
    const std::int64_t tokens = mass.dim(2);
    const std::int64_t sources = mass.dim(3);
    for (std::int64_t i = 0; i < tokens; ++i) {
      std::vector<double> row(static_cast<std::size_t>(sources));
      double depth = 0;
      for (std::int64_t h = 0; h < heads; ++h) {
        for (std::int64_t m = 0; m < sources; ++m) {
          row[static_cast<std::size_t>(m)] += mass.at((h * tokens + i) * sources + m) / static_cast<double>(heads);
        }
        depth += effective.at(h * tokens + i) / static_cast<double>(heads);
      }
      result_.depth.push_back(std::move(row));
      result_.effective_depth.push_back(depth);
    }
  }

  const Decoder& model_;
  Tensor tokens_;
  Exploration result_;
};

}  // namespace

Exploration explore(const Decoder& model, const std::vector<std::int32_t>& tokens, std::int64_t recency_window) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (count < 2 || count > model.config().context) {
    raise<ValueError>("explore: 2 to ", model.config().context, " tokens are required, the model's context; got ",
                      count);
  }
  if (recency_window < 0) raise<ValueError>("explore: the recency window must be at least 0; got ", recency_window);
  return Explorer(model, tokens, recency_window).explore();
}

}  // namespace mixgrad
