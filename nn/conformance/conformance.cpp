#include "nn/conformance/conformance.h"

#include <algorithm>

#include "core/error.h"
#include "nn/conformance/case_file.h"
#include "nn/conformance/comparison.h"
#include "nn/training/optimizers/registry.h"
#include "nn/training/train_step.h"

namespace mixgrad {
namespace {

// Computes what the file has of the reference, and notes how far apart the two are.
class Comparison {
 public:
  Comparison(const std::filesystem::path& path, DType precision) : file_(path), tolerance_(tolerance_for(precision)) {
    result_.name = path.stem().string();
    result_.precision = precision;
  }

  ConformanceResult run(Device device) {
    const ModelConfig config = file_.config();
    file_.check_tensors(parameter_shapes(config));
    Decoder model(config, {result_.precision, device});
    file_.read_parameters(model.parameters());
    file_.read_batches();
    check_logits(model, file_.tokens(0));
    check_probes(model, file_.tokens(0));
    check_training(model);
    const auto parts = {result_.logits, result_.loss, result_.step_losses, result_.after, result_.probes};
    if (std::none_of(parts.begin(), parts.end(), [](const auto& part) { return part.has_value(); })) {
      raise<FormatError>(file_.path(), ": holds nothing to compare (out.*, grad.*, after.*, probe.*)");
    }
    result_.pass = result_.worst.empty();
    return result_;
  }

 private:
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
    note(result_.logits, "out.logits", tensor_error(logits, reference, result_.precision), tolerance_.logits);
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
    return tensor_error(logits, reference, result_.precision);
  }

  void check_probes(const Decoder& model, const Tensor& tokens) {
    const ModelConfig& config = model.config();
    const std::string prefix = "probe.recency.";
    std::vector<Tensor> ratios;
    for (const std::string& name : file_.names()) {
      if (!name.starts_with(prefix)) continue;
      if (ratios.empty())
        ratios = model.recency(tokens, file_.integer(file_.meta("recency_window"), "metadata 'recency_window'"));
      const auto layer =
          static_cast<std::size_t>(file_.integer(name.substr(prefix.size()), "tensor name '" + name + "'"));
      if (layer >= ratios.size() || !ratios[layer].defined()) {
        raise<FormatError>(file_.path(), ": ", name, " names a layer without softmax heads");
      }
      note(result_.probes, name,
           tensor_error(ratios[layer], file_.read_as(name, ratios[layer].shape(), DType::f64), result_.precision),
           tolerance_.logits);
    }
    const std::string depth = "probe.depth_mass";
    if (!file_.has(depth)) return;
    if (!config.shortcut) raise<FormatError>(file_.path(), ": ", depth, " needs a model with a shortcut");
    const Tensor mass = model.depth_mass(tokens).mass;
    note(result_.probes, depth, tensor_error(mass, file_.read_as(depth, mass.shape(), DType::f64), result_.precision),
         tolerance_.logits);
  }

  // In f32 AdamW amplifies the rounding of a gradient that is zero on paper: those rows are left out of `after`.
  RowRange skipped(const Decoder& model, const std::string& name) const {
    if (result_.precision == DType::f64) return {};
    for (std::size_t l = 0; l < model.config().layers.size(); ++l) {
      const std::string prefix = "layers." + std::to_string(l) + ".mixer.";
      if (name.starts_with(prefix)) return model.mixer(l).rows_without_gradient(name.substr(prefix.size()));
    }
    return {};
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

  void check_training(Decoder& model) {
    ParameterSet& parameters = model.parameters();
    const bool has_gradients = file_.has_part("grad.", parameters);
    const bool has_after = file_.has_part("after.", parameters);
    if (!file_.has("out.loss")) {
      if (has_gradients || has_after || file_.has("out.step_losses")) {
        raise<FormatError>(file_.path(),
                           ": gradients, step losses and parameters after steps need out.loss, which is missing");
      }
      return;
    }
    OptimizerSettings chosen{.name = file_.optimizer(), .values = {}};
    for (const OptimizerOption& option : optimizer_kind(chosen.name).options) {
      std::string key = option.name;  // weight-decay is weight_decay there
      std::replace(key.begin(), key.end(), '-', '_');
      chosen.values[option.name] = file_.train_setting(key);
    }
    chosen.clip = file_.train_setting("clip");
    const std::unique_ptr<Optimizer> optimizer = make_optimizer(chosen, parameters);
    TrainStep step(model, *optimizer);
    const std::int64_t count = file_.batches();
    const Tensor losses = Tensor::empty({count}, DType::f64);
    for (std::int64_t k = 0; k < count; ++k) {
      losses.set(k, step.accumulate(file_.tokens(k), file_.targets(k)));
      if (k == 0) {
        note(result_.loss, "out.loss", relative_error(losses.slice(0, 1), file_.read_as("out.loss", {1}, DType::f64)),
             tolerance_.loss);
        if (has_gradients) check_gradients(parameters, step.gradients());
      }
      step.apply(file_.train_setting("lr"));
    }
    if (file_.has("out.step_losses")) {
      note(result_.step_losses, "out.step_losses",
           relative_error(losses, file_.read_as("out.step_losses", {count}, DType::f64)), tolerance_.step_losses);
    }
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (!has_after || result_.precision == DType::bf16) break;
      const std::string name = "after." + parameters[i].name;
      const Tensor reference = file_.read_as(name, parameters[i].shape, DType::f64);
      const RowRange left_out = skipped(model, parameters[i].name);
      note(result_.after, name, relative_error(parameters[i].master, reference, left_out), tolerance_.after);
    }
  }

  CaseFile file_;
  Tolerance tolerance_;
  ConformanceResult result_;
  double worst_ratio_ = 0;
};

}  // namespace

ConformanceResult run_conformance(const std::filesystem::path& path, DType precision, Device device) {
  return Comparison(path, precision).run(device);
}

}  // namespace mixgrad
