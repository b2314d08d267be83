#include "nn/analysis/shift_paths.h"

#include <algorithm>
#include <string>

#include "nn/config/kinds/hsm.h"

namespace mixgrad {
namespace {

struct PathLayer {
  std::int64_t layer = 0;
  const HsmConfig* config = nullptr;
  const Parameter* a = nullptr;
  const Parameter* b = nullptr;

  // Of channel c: a and b are given for each head or for each channel.
  double value(const Parameter& of, std::int64_t c, std::int64_t width) const {
    return of.value.at(c * of.shape.numel() / width);
  }
};

std::vector<PathLayer> path_layers(const Decoder& model) {
  std::vector<PathLayer> layers;
  for (std::size_t l = 0; l < model.config().layers.size(); ++l) {
    const auto* config = model.config().layers[l].get_if<HsmConfig>();
    if (config == nullptr) continue;
    const std::string prefix = "layers." + std::to_string(l) + ".mixer.";
    layers.push_back({static_cast<std::int64_t>(l), config, model.parameters().find(prefix + "a"),
                      model.parameters().find(prefix + "b")});
  }
  return layers;
}

// Paths of one head, those with fewer jumps first.
class Search {
 public:
  Search(const std::vector<PathLayer>& layers, std::int64_t head, std::int64_t lags)
      : layers_(layers), head_(head), lags_(lags) {
    result_.head = head;
  }

  HeadPaths all() {
    for (std::size_t jumps = 0; jumps <= layers_.size() && result_.complete; ++jumps) choose(0, jumps, {}, 0);
    std::stable_sort(result_.paths.begin(), result_.paths.end(),
                     [](const ShiftPath& p, const ShiftPath& q) { return p.lag < q.lag; });
    return std::move(result_);
  }

 private:
  void choose(std::size_t next, std::size_t jumps, const std::vector<std::int64_t>& taken, std::int64_t lag) {
    if (lag > lags_ || !result_.complete) return;
    if (jumps == 0) {
      if (result_.paths.size() == kMostShiftPaths) {
        result_.complete = false;
      } else {
        result_.paths.push_back({taken, lag, std::nullopt});
      }
      return;
    }
    for (std::size_t l = next; l + jumps <= layers_.size(); ++l) {
      std::vector<std::int64_t> more = taken;
      more.push_back(layers_[l].layer);
      choose(l + 1, jumps - 1, more, lag + layers_[l].config->shifts[static_cast<std::size_t>(head_)]);
    }
  }

  const std::vector<PathLayer>& layers_;
  std::int64_t head_, lags_;
  HeadPaths result_;
};

void add_weights(const std::vector<PathLayer>& layers, std::int64_t width, HeadPaths& of) {
  const std::int64_t channels = width / layers.front().config->heads;
  const std::int64_t first = of.head * channels;
  std::vector<double> stay(layers.size() * static_cast<std::size_t>(channels));
  std::vector<double> jump(stay.size());
  for (std::size_t l = 0; l < layers.size(); ++l) {
    for (std::int64_t c = 0; c < channels; ++c) {
      const std::size_t at = l * static_cast<std::size_t>(channels) + static_cast<std::size_t>(c);
      stay[at] = 1 + layers[l].value(*layers[l].a, first + c, width);
      jump[at] = layers[l].value(*layers[l].b, first + c, width);
    }
  }
  for (ShiftPath& path : of.paths) {
    double sum = 0;
    for (std::size_t c = 0; c < static_cast<std::size_t>(channels); ++c) {
      double product = 1;
      std::size_t next = 0;
      for (std::size_t l = 0; l < layers.size(); ++l) {
        const bool jumps = next < path.jumps.size() && path.jumps[next] == layers[l].layer;
        if (jumps) ++next;
        product *= (jumps ? jump : stay)[l * static_cast<std::size_t>(channels) + c];
      }
      sum += product;
    }
    path.weight = sum / static_cast<double>(channels);
  }
}

}  // namespace

std::vector<HeadPaths> shift_paths(const Decoder& model, std::int64_t lags) {
  const std::vector<PathLayer> layers = path_layers(model);
  if (layers.empty()) return {};
  const std::int64_t heads = layers.front().config->heads;
  if (std::any_of(layers.begin(), layers.end(), [&](const PathLayer& l) { return l.config->heads != heads; })) {
    return {};
  }
  const bool weighted =
      std::all_of(layers.begin(), layers.end(), [](const PathLayer& l) { return l.a != nullptr && l.b != nullptr; });
  std::vector<HeadPaths> all;
  for (std::int64_t h = 0; h < heads; ++h) {
    all.push_back(Search(layers, h, lags).all());
    if (weighted) add_weights(layers, model.config().d_model, all.back());
  }
  return all;
}

}  // namespace mixgrad
