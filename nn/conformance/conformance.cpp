#include "nn/conformance/conformance.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "core/text/parse_number.h"
#include "nn/files/safetensors.h"
#include "nn/files/strict_json.h"
#include "nn/training/training.h"

namespace mixgrad {
namespace {

struct Tolerance {
  double logits, loss, grad, step_losses, after;
};

// In bf16 what comes after AdamW steps has no tolerance: where a gradient is smaller than its rounding, a step of the
// full learning rate goes either way. The step losses are still told, the parameters are not compared.
Tolerance tolerance_for(DType precision) {
  if (precision == DType::f64) return {1e-9, 1e-9, 1e-9, 1e-9, 1e-9};
  if (precision == DType::bf16) return {3e-2, 3e-2, 0.1, INFINITY, INFINITY};
  return {2e-5, 1e-5, 1e-4, 1e-5, 3e-4};
}

// Sums of squares, of the differences and of the reference: for errors in the Frobenius norm.
struct Squares {
  double difference = 0, reference = 0;

  void add(const Tensor& computed, const Tensor& wanted) {
    const Tensor x = computed.to(kCpu);
    for (std::int64_t i = 0; i < wanted.numel(); ++i) {
      const double d = x.at(i) - wanted.at(i);
      difference += d * d;
      reference += wanted.at(i) * wanted.at(i);
    }
  }
  double error() const {
    if (!std::isfinite(difference) || !std::isfinite(reference)) return INFINITY;
    return std::sqrt(reference > 0 ? difference / reference : difference);
  }
};

// Largest |x - reference| over max |reference|; a reference of zeros asks for the absolute error.
double relative_error(const Tensor& computed, const Tensor& reference, std::int64_t skip_begin = 0,
                      std::int64_t skip_end = 0) {
  const Tensor x = computed.to(kCpu);
  double worst = 0;
  double largest = 0;
  for (std::int64_t i = 0; i < reference.numel(); ++i) {
    if (!std::isfinite(reference.at(i))) return INFINITY;
    largest = std::max(largest, std::abs(reference.at(i)));
    if (i >= skip_begin && i < skip_end) continue;
    const double error = std::abs(x.at(i) - reference.at(i));
    worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
  }
  return largest > 0 ? worst / largest : worst;
}

class Case {
 public:
  Case(const std::filesystem::path& path, DType precision, Device device)
      : file_(SafetensorsFile::open(path)), tolerance_(tolerance_for(precision)), device_(device) {
    result_.name = path.stem().string();
    result_.precision = precision;
    if (meta("format") != "mixgrad-conformance-1") {
      raise<FormatError>(path.string(), ": metadata 'format' must be mixgrad-conformance-1, got '", meta("format"),
                         "'");
    }
  }

  ConformanceResult run() {
    const ModelConfig config = parse_model_config(meta("config"), file_.path() + " (metadata config)");
    // Names and shapes are compared before the model's memory is asked for.
    const std::map<std::string, Shape> shapes = parameter_shapes(config);
    for (const std::string& name : file_.names()) {
      if (!is_known(name, shapes)) {
        raise<FormatError>(file_.path(), ": tensor '", name,
                           "' is neither of the model in the config nor of this format");
      }
    }
    for (const auto& [name, shape] : shapes) {
      const auto& entry = file_.entry("param." + name);
      if (!(entry.shape == shape)) {
        raise<FormatError>(file_.path(), ": tensor 'param.", name, "' must be ", shape, " by the config, found ",
                           entry.shape);
      }
    }
    Decoder model(config, {result_.precision, device_});
    ParameterSet& parameters = model.parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      file_.read_into("param." + parameters[i].name, parameters[i].master);
    }
    parameters.refresh();
    const Tensor all_tokens = file_.read("in.tokens");
    const Tensor all_targets = file_.read("in.targets");
    const auto good = [](const Tensor& t) { return t.shape().rank() == 3 && t.dtype() == DType::i32; };
    if (!good(all_tokens) || !good(all_targets) || !(all_tokens.shape() == all_targets.shape())) {
      raise<FormatError>(file_.path(), ": in.tokens and in.targets must be i32 [K,B,T] of one shape, got ",
                         all_tokens.shape(), " and ", all_targets.shape());
    }
    const auto batch = [](const Tensor& all, std::int64_t k) {
      return all.slice(k, k + 1).reshape({all.dim(1), all.dim(2)});
    };
    check_logits(model, batch(all_tokens, 0));
    check_probes(model, batch(all_tokens, 0));
    check_training(model, config, all_tokens, all_targets, batch);
    for (const auto& part : {result_.logits, result_.loss, result_.step_losses, result_.after, result_.probes}) {
      compared_ = compared_ || part.has_value();
    }
    if (!compared_) raise<FormatError>(file_.path(), ": holds nothing to compare (out.*, grad.*, after.*, probe.*)");
    result_.pass = result_.worst.empty();
    return result_;
  }

 private:
  static bool is_known(const std::string& name, const std::map<std::string, Shape>& shapes) {
    for (const std::string part : {"param.", "grad.", "after."}) {
      if (name.starts_with(part)) return shapes.count(name.substr(part.size())) > 0;
    }
    const std::set<std::string> others = {"in.tokens", "in.targets", "out.logits", "out.loss", "out.step_losses"};
    return name.starts_with("probe.recency.") || name == "probe.depth_mass" || others.count(name) > 0;
  }

  std::string meta(const std::string& key) const {
    const auto place = file_.metadata().find(key);
    if (place == file_.metadata().end()) {
      raise<FormatError>(file_.path(), ": metadata '", key, "' is required and missing; is this a conformance case?");
    }
    return place->second;
  }

  std::int64_t integer(const std::string& text, const std::string& where) const {
    const std::optional<std::int64_t> value = parse_integer(text);
    if (!value || *value < 0) {
      raise<FormatError>(file_.path(), ": ", where, " must hold an integer of at least 0, found '", text, "'");
    }
    return *value;
  }

  // Of one tensor: the largest error, and in bf16 that of the Frobenius norm.
  double tensor_error(const Tensor& computed, const Tensor& reference) const {
    if (result_.precision != DType::bf16) return relative_error(computed, reference);
    Squares squares;
    squares.add(computed, reference);
    return squares.error();
  }

  void note(std::optional<double>& part, const std::string& name, double error, double tolerance) {
    part = std::max(part.value_or(0.0), error);
    if (error <= tolerance) return;
    if (error / tolerance > worst_ratio_) {
      worst_ratio_ = error / tolerance;
      result_.worst = name;
    }
  }

  void check_logits(const Decoder& model, const Tensor& tokens) {
    if (!file_.has("out.logits")) return;
    const Tensor reference = file_.read("out.logits");
    const Tensor logits = model.logits(tokens);
    if (!(logits.shape() == reference.shape())) {
      raise<FormatError>(file_.path(), ": out.logits must be ", logits.shape(), ", found ", reference.shape());
    }
    note(result_.logits, "out.logits", tensor_error(logits, reference), tolerance_.logits);
    // Decoding: a first chunk, then chunks, then single tokens; every split must give the same logits.
    const std::int64_t length = tokens.dim(1);
    for (const std::int64_t first : {std::int64_t{1}, length / 2, length}) {
      for (const std::int64_t chunk : {std::int64_t{1}, std::int64_t{3}}) {
        if (first < 1) continue;
        note(result_.decode, "decode after " + std::to_string(first),
             decode_error(model, tokens, reference, first, chunk), tolerance_.logits);
      }
    }
  }

  double decode_error(const Decoder& model, const Tensor& tokens, const Tensor& reference, std::int64_t first,
                      std::int64_t chunk) const {
    const std::int64_t length = tokens.dim(1);
    DecoderState state = model.new_state(tokens.dim(0), length);
    const Tensor logits = Tensor::empty(reference.shape(), model.dtype());
    const std::int64_t vocabulary = reference.dim(2);
    std::int64_t at = 0;
    while (at < length) {
      const std::int64_t steps = std::min(length - at, at == 0 ? first : chunk);
      const Tensor piece = Tensor::empty({tokens.dim(0), steps}, DType::i32);
      for (std::int64_t b = 0; b < tokens.dim(0); ++b) {
        for (std::int64_t t = 0; t < steps; ++t) piece.set(b * steps + t, tokens.at(b * length + at + t));
      }
      const Tensor out = model.prefill(piece, state);
      for (std::int64_t b = 0; b < tokens.dim(0); ++b) {
        logits.slice(b, b + 1)
            .reshape({length, vocabulary})
            .slice(at, at + steps)
            .copy_from(out.slice(b, b + 1).reshape({steps, vocabulary}));
      }
      at += steps;
    }
    return tensor_error(logits, reference);
  }

  void check_probes(const Decoder& model, const Tensor& tokens) {
    const ModelConfig& config = model.config();
    const std::string prefix = "probe.recency.";
    std::vector<Tensor> ratios;
    for (const std::string& name : file_.names()) {
      if (!name.starts_with(prefix)) continue;
      if (ratios.empty()) ratios = model.recency(tokens, integer(meta("recency_window"), "metadata 'recency_window'"));
      const auto layer = static_cast<std::size_t>(integer(name.substr(prefix.size()), "tensor name '" + name + "'"));
      if (layer >= ratios.size() || !ratios[layer].defined()) {
        raise<FormatError>(file_.path(), ": ", name, " names a layer without softmax heads");
      }
      note(result_.probes, name, tensor_error(ratios[layer], file_.read_as(name, ratios[layer].shape(), DType::f64)),
           tolerance_.logits);
    }
    const std::string depth = "probe.depth_mass";
    if (!file_.has(depth)) return;
    if (!config.shortcut) raise<FormatError>(file_.path(), ": ", depth, " needs a model with a shortcut");
    const Tensor mass = model.depth_mass(tokens).mass;
    note(result_.probes, depth, tensor_error(mass, file_.read_as(depth, mass.shape(), DType::f64)), tolerance_.logits);
  }

  // Is this part in the file? Then it must be whole, with the name of every parameter.
  bool has_part(const std::string& prefix, const ParameterSet& parameters) const {
    const auto in_part = [&](const std::string& name) { return name.starts_with(prefix); };
    if (std::none_of(file_.names().begin(), file_.names().end(), in_part)) return false;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const std::string name = prefix + parameters[i].name;
      if (!file_.has(name)) raise<FormatError>(file_.path(), ": tensor '", name, "' is required and missing");
    }
    return true;
  }

  // Where the keys of all tokens are turned alike, the gradient of a bias of keys is exactly zero, so AdamW amplifies
  // rounding there: in f32 those rows are left out of `after`. That is so without rotary positions, and in a shortcut
  // whose queries see the keys of one place only.
  std::pair<std::int64_t, std::int64_t> skipped(const ModelConfig& config, const std::string& name) const {
    const bool kv = name.ends_with("mixer.kv.bias");
    const bool turned =
        config.positions == Positions::rope && !(kv && config.shortcut->concat == ShortcutConcat::depth);
    if (result_.precision == DType::f64 || turned) return {0, 0};
    if (kv) {
      const auto& layer = std::get<AttentionConfig>(config.layers.back());
      return {0, layer.kv_heads * (config.d_model / layer.heads)};
    }
    if (!name.ends_with("mixer.qkv.bias")) return {0, 0};
    const auto layer = static_cast<std::size_t>(std::stoul(name.substr(std::string("layers.").size())));
    const auto key_rows = [&](const auto& heads, std::int64_t kept_groups) {
      const std::int64_t dh = config.d_model / heads.heads;
      const std::int64_t first = kept_groups * (heads.heads / heads.kv_heads) * dh;
      return std::pair{first, first + kept_groups * dh};
    };
    if (const auto* mixed = std::get_if<RecurformerConfig>(&config.layers[layer])) {
      return key_rows(*mixed, mixed->softmax_groups());
    }
    const auto& attention = std::get<AttentionConfig>(config.layers[layer]);
    return key_rows(attention, attention.kv_heads);
  }

  // Each on its own; in bf16 all of them as one vector.
  void check_gradients(const ParameterSet& parameters, const Gradients& gradients) {
    Squares all;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const std::string name = "grad." + parameters[i].name;
      const Tensor reference = file_.read_as(name, parameters[i].shape, DType::f64);
      if (result_.precision == DType::bf16) {
        all.add(gradients.of(i), reference);
      } else {
        note(result_.grad, name, relative_error(gradients.of(i), reference), tolerance_.grad);
      }
    }
    if (result_.precision == DType::bf16) note(result_.grad, "grad.*", all.error(), tolerance_.grad);
  }

  template <class Batch>
  void check_training(Decoder& model, const ModelConfig& config, const Tensor& all_tokens, const Tensor& all_targets,
                      const Batch& batch) {
    ParameterSet& parameters = model.parameters();
    const bool has_gradients = has_part("grad.", parameters);
    const bool has_after = has_part("after.", parameters);
    if (!file_.has("out.loss")) {
      if (has_gradients || has_after || file_.has("out.step_losses")) {
        raise<FormatError>(file_.path(),
                           ": gradients, step losses and parameters after steps need out.loss, which is missing");
      }
      return;
    }
    const JsonPlace place{file_.path() + " (metadata train)", ""};
    const nlohmann::json settings = parse_strict_json(meta("train"), place.source);
    const auto setting = [&](const char* key) {
      const nlohmann::json& value = json_at(settings, place, key);
      if (!value.is_number()) place.key(key).wrong("a number", value);
      return value.get<double>();
    };
    AdamW optimizer(parameters,
                    {setting("beta1"), setting("beta2"), setting("eps"), setting("weight_decay"), setting("clip")});
    TrainStep step(model, optimizer);
    const std::int64_t count = all_tokens.dim(0);
    const Tensor losses = Tensor::empty({count}, DType::f64);
    for (std::int64_t k = 0; k < count; ++k) {
      losses.set(k, step.accumulate(batch(all_tokens, k), batch(all_targets, k)));
      if (k == 0) {
        note(result_.loss, "out.loss", relative_error(losses.slice(0, 1), file_.read_as("out.loss", {1}, DType::f64)),
             tolerance_.loss);
        if (has_gradients) check_gradients(parameters, step.gradients());
      }
      step.apply(setting("lr"));
    }
    if (file_.has("out.step_losses")) {
      note(result_.step_losses, "out.step_losses",
           relative_error(losses, file_.read_as("out.step_losses", {count}, DType::f64)), tolerance_.step_losses);
    }
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (!has_after || result_.precision == DType::bf16) break;
      const std::string name = "after." + parameters[i].name;
      const Tensor reference = file_.read_as(name, parameters[i].shape, DType::f64);
      const auto [begin, end] = skipped(config, parameters[i].name);
      note(result_.after, name, relative_error(parameters[i].master, reference, begin, end), tolerance_.after);
    }
  }

  SafetensorsFile file_;
  Tolerance tolerance_;
  Device device_;
  ConformanceResult result_;
  double worst_ratio_ = 0;
  bool compared_ = false;
};

}  // namespace

ConformanceResult run_conformance(const std::filesystem::path& path, DType precision, Device device) {
  return Case(path, precision, device).run();
}

}  // namespace mixgrad
