#include "nn/analysis/mamba_attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/system/interrupt.h"
#include "nn/analysis/mamba_decay.h"

namespace mixgrad {
namespace {

constexpr std::int64_t kGroups = 4;
constexpr double kGone = 1e-30;  // decays below it are as good as 0, and soon slow (denormal)

// A tensor of any type and place, row views included, as numbers in order.
std::vector<double> numbers(const Tensor& of) {
  const Tensor tensor = of.to(kCpu);
  std::vector<double> values(static_cast<std::size_t>(tensor.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = tensor.at(static_cast<std::int64_t>(i));
  return values;
}

struct Head {
  std::size_t tokens, channels, states;
  std::vector<double> x, step;  // [T,di]
  std::vector<double> b, c;     // [T,N]
  std::vector<double> kept;     // [T,di,N]: exp(step A)
};

// Adds what token j gives to every later one.
void add_source(const Head& head, std::size_t j, MambaAttention& result) {
  const std::size_t tokens = head.tokens;
  const std::size_t states = head.states;
  const std::size_t cells = head.channels * states;
  std::vector<double> decay(cells, 1.0);
  std::vector<double> written(cells);
  double total = 0;
  for (std::size_t i = 0; i < cells; ++i) {
    const std::size_t channel = j * head.channels + i / states;
    written[i] = std::abs(head.step[channel] * head.x[channel] * head.b[j * states + i % states]);
    total += written[i];
  }
  std::vector<double> match(states);
  for (std::size_t t = j; t < tokens; ++t) {
    if (t > j) {
      double most = 0;
      const double* kept = head.kept.data() + t * cells;
      for (std::size_t i = 0; i < cells; ++i) {
        decay[i] *= kept[i];
        most = std::max(most, decay[i]);
      }
      if (most < kGone) return;
    }
    for (std::size_t n = 0; n < states; ++n) match[n] = head.c[t * states + n] * head.b[j * states + n];
    double weight = 0;
    double left = 0;
    for (std::size_t c = 0; c < head.channels; ++c) {
      double sum = 0;
      for (std::size_t n = 0; n < states; ++n) {
        sum += match[n] * decay[c * states + n];
        left += written[c * states + n] * decay[c * states + n];
      }
      weight += std::abs(head.step[j * head.channels + c] * sum);
    }
    result.weights[t * tokens + j] = weight;
    result.left[t * tokens + j] = total > 0 ? left / total : 0;
  }
}

void add_groups(const Head& head, MambaAttention& result) {
  std::vector<double> mean(head.channels);
  for (std::size_t i = 0; i < head.step.size(); ++i) mean[i % head.channels] += head.step[i];
  std::vector<std::size_t> order(head.channels);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t p, std::size_t q) { return mean[p] < mean[q]; });
  const std::size_t groups = std::min<std::size_t>(kGroups, head.channels);
  result.groups = static_cast<std::int64_t>(groups);
  for (std::size_t t = 0; t < head.tokens; ++t) {
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t begin = g * head.channels / groups;
      const std::size_t end = (g + 1) * head.channels / groups;
      double step = 0;
      double kept = 0;
      for (std::size_t i = begin; i < end; ++i) {
        step += head.step[t * head.channels + order[i]];
        const double* row = head.kept.data() + (t * head.channels + order[i]) * head.states;
        kept += std::accumulate(row, row + head.states, 0.0) / static_cast<double>(head.states);
      }
      result.step.push_back(step / static_cast<double>(end - begin));
      result.kept.push_back(kept / static_cast<double>(end - begin));
    }
  }
}

MambaAttention attention_of(const Head& head) {
  MambaAttention result;
  result.weights.resize(head.tokens * head.tokens);
  result.left.resize(head.tokens * head.tokens);
  for (std::size_t j = 0; j < head.tokens; ++j) add_source(head, j, result);
  for (std::size_t t = 0; t < head.tokens; ++t) {
    double* row = result.weights.data() + t * head.tokens;
    const double sum = std::accumulate(row, row + head.tokens, 0.0);
    result.strength.push_back(sum / static_cast<double>(head.channels));
    if (sum > 0) std::for_each(row, row + head.tokens, [&](double& weight) { weight /= sum; });
  }
  add_groups(head, result);
  return result;
}

}  // namespace

std::vector<MambaAttention> mamba_attention(const MambaSelection& inputs) {
  if (!inputs.x.defined()) return {};
  if (inputs.x.dim(0) != 1) {
    raise<ValueError>("mamba_attention: one sequence is required, x [1,T,R,di]; got ", inputs.x.shape().str());
  }
  const auto tokens = static_cast<std::size_t>(inputs.x.dim(1));
  const auto heads = static_cast<std::size_t>(inputs.x.dim(2));
  const auto channels = static_cast<std::size_t>(inputs.x.dim(3));
  const auto states = static_cast<std::size_t>(inputs.b.dim(3));
  const std::vector<double> x = numbers(inputs.x);
  const std::vector<double> dt = numbers(inputs.dt);
  const std::vector<double> a_log = numbers(inputs.a_log);
  const std::vector<double> b = numbers(inputs.b);
  const std::vector<double> c = numbers(inputs.c);
  std::vector<MambaAttention> all;
  for (std::size_t r = 0; r < heads; ++r) {
    check_interrupt();
    Head head{tokens, channels, states, {}, {}, {}, {}, {}};
    for (std::size_t t = 0; t < tokens; ++t) {
      const std::size_t at = t * heads + r;
      for (std::size_t n = 0; n < states; ++n) {
        head.b.push_back(b[at * states + n]);
        head.c.push_back(c[at * states + n]);
      }
      for (std::size_t i = 0; i < channels; ++i) {
        const double step = softplus(dt[at * channels + i]);
        head.x.push_back(x[at * channels + i]);
        head.step.push_back(step);
        for (std::size_t n = 0; n < states; ++n) {
          head.kept.push_back(std::exp(-step * std::exp(a_log[(r * channels + i) * states + n])));
        }
      }
    }
    all.push_back(attention_of(head));
  }
  return all;
}

}  // namespace mixgrad
