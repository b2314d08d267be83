#include "nn/analysis/conversion/distillation.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/text/plural.h"
#include "nn/analysis/conversion/conversion.h"
#include "nn/config/kinds/attention.h"
#include "nn/config/kinds/mixed_heads.h"
#include "nn/files/file.h"
#include "nn/files/hash.h"
#include "nn/training/checkpoint.h"
#include "ops/squared_error/squared_error.h"

namespace mixgrad {

template <>
const std::vector<std::string>& enum_names<DistillStage>() {
  static const std::vector<std::string> names{"heads", "logits"};
  return names;
}

namespace {

// Of |a_teacher|^2 below: the head gives nothing, and dividing by it would be dividing by 0.
constexpr double kLeastSize = 1e-30;

// A head that the student has as a Mamba or shift head.
struct MatchedHead {
  HeadTarget kind = HeadTarget::recurformer;
  ReplacedHead head;
  std::int64_t head_dim = 0;  // of its layer
};

// By layer.
std::vector<MatchedHead> matched_heads(const ModelConfig& teacher, const ModelConfig& student) {
  std::vector<MatchedHead> matched;
  if (teacher.layers.size() != student.layers.size() || teacher.d_model != student.d_model) return matched;
  for (const HeadTarget kind : {HeadTarget::recurformer, HeadTarget::shift}) {
    for (const ReplacedHead& head : replaced_heads(teacher, student, kind)) {
      const auto& layer = student.layers[static_cast<std::size_t>(head.group.layer)];
      matched.push_back({kind, head, student.d_model / layer.get<MixedHeadsConfig>().heads});
    }
  }
  std::stable_sort(matched.begin(), matched.end(),
                   [](const MatchedHead& a, const MatchedHead& b) { return a.head.group.layer < b.head.group.layer; });
  return matched;
}

std::string parameters_of(const MatchedHead& matched) {
  return mixer_prefix(matched.head.group.layer) + (matched.kind == HeadTarget::recurformer ? "mamba." : "shift.");
}

class LogitDistillation final : public Objective {
 public:
  LogitDistillation(std::shared_ptr<const Decoder> teacher, const Distillation& how)
      : teacher_(std::move(teacher)), how_(how) {}

  std::string name() const override { return "distill-logits"; }

  double accumulate(Decoder& model, const Tensor& tokens, const Tensor& targets, double divisor,
                    const DropoutMask& dropout, Gradients& gradients) const override {
    const Tensor wanted = teacher_->logits(tokens);
    Tape tape;
    model.parameters().watch(tape);
    const Tensor logits = model.training_logits(tokens, dropout);
    const Tensor loss = distillation_loss(logits, wanted, targets.to(model.device()), how_);
    const double value = loss.item();
    std::move(tape).backward(loss, gradients, 1.0 / divisor);
    return value;
  }

 private:
  std::shared_ptr<const Decoder> teacher_;
  Distillation how_;
};

class HeadMatching final : public Objective {
 public:
  HeadMatching(std::shared_ptr<const Decoder> teacher, const ModelConfig& student)
      : teacher_(std::move(teacher)), matched_(matched_heads(teacher_->config(), student)) {}

  std::string name() const override { return "distill-heads"; }
  Passes passes() const override { return Passes::of_each_layer; }

  double accumulate(Decoder& model, const Tensor& tokens, const Tensor& /*targets*/, double divisor,
                    const DropoutMask& /*dropout*/, Gradients& gradients) const override {
    double sum = 0;
    teacher_->visit(tokens, [&](std::size_t layer, const Mixer& mixer, const LayerInput& input) {
      std::vector<MatchedHead> here;
      for (const MatchedHead& matched : matched_) {
        if (matched.head.group.layer == static_cast<std::int64_t>(layer)) here.push_back(matched);
      }
      if (here.empty()) return;
      sum += match_layer(model, mixer.softmax_outputs(input), input.u(), here, divisor, gradients);
    });
    return sum / static_cast<double>(matched_.size());
  }

 private:
  // The sum over these heads of their errors.
  double match_layer(Decoder& model, const Tensor& outputs, const Tensor& u, const std::vector<MatchedHead>& here,
                     double divisor, Gradients& gradients) const {
    const Mixer& mixer = model.mixer(static_cast<std::size_t>(here.front().head.group.layer));
    const ContextScope scope(model.context());
    const std::int64_t tokens = outputs.dim(0) * outputs.dim(1);
    const Tensor wanted = outputs.reshape({outputs.dim(0), outputs.dim(1), outputs.numel() / tokens});  // [B,T,H dh]
    const std::int64_t head_dim = here.front().head_dim;
    const Tensor zeros = Tensor::zeros({wanted.dim(0), wanted.dim(1), head_dim}, wanted.dtype(), wanted.device());
    std::vector<Tensor> targets;
    std::vector<double> weights;
    for (const MatchedHead& matched : here) {
      const std::int64_t begin = matched.head.softmax * head_dim;
      targets.push_back(wanted.column_view(begin, begin + head_dim));
      const double size = squared_error(targets.back(), zeros).item();
      weights.push_back(size > kLeastSize ? 1 / size : 1);  // a head that gives nothing is matched as it is
    }
    Tape tape;
    model.parameters().watch(tape);
    const LayerInput input(u);
    const Tensor mamba = mixer.mamba_outputs(input);
    const Tensor shift = mixer.shift_outputs(input);
    std::vector<Tape::Seed> seeds;
    double sum = 0;
    for (std::size_t i = 0; i < here.size(); ++i) {
      const Tensor& all = here[i].kind == HeadTarget::recurformer ? mamba : shift;
      const std::int64_t begin = here[i].head.index * head_dim;
      const Tensor error = squared_error(columns(all, begin, begin + head_dim), targets[i]);
      sum += weights[i] * error.item();
      const double scale = weights[i] / (divisor * static_cast<double>(matched_.size()));
      seeds.push_back({error, Tensor::full({1}, error.dtype(), scale, error.device())});
    }
    std::move(tape).backward(seeds, gradients);
    return sum;
  }

  std::shared_ptr<const Decoder> teacher_;
  std::vector<MatchedHead> matched_;
};

// Query heads and key/value heads of a layer with softmax heads.
std::pair<std::int64_t, std::int64_t> head_counts(const LayerConfig& layer) {
  if (const auto* mixed = layer.get_if<MixedHeadsConfig>()) return {mixed->heads, mixed->kv_heads};
  if (const auto* attention = layer.get_if<AttentionConfig>()) return {attention->heads, attention->kv_heads};
  return {0, 0};
}

void check_heads(const Teacher& teacher, const ModelConfig& student) {
  const std::vector<MatchedHead> matched = matched_heads(teacher.model->config(), student);
  if (matched.empty()) {
    raise<ValueError>("--distill-stage heads needs a model some of whose heads are Mamba or shift heads where ",
                      teacher.folder.string(), " has softmax heads; this one has none; convert it first, or take the ",
                      "stage logits");
  }
  for (const MatchedHead& one : matched) {
    const auto layer = static_cast<std::size_t>(one.head.group.layer);
    const auto [heads, groups] = head_counts(teacher.model->config().layers[layer]);
    const auto [own_heads, own_groups] = head_counts(student.layers[layer]);
    if (heads != own_heads || groups != own_groups) {
      raise<ValueError>("--distill-stage heads needs layers with as many heads and key/value heads as the teacher's, ",
                        own_heads, " and ", own_groups, " in layer ", layer, "; that of ", teacher.folder.string(),
                        " has ", heads, " and ", groups, "; take the stage logits");
    }
    const auto* before = teacher.model->config().layers[layer].get_if<MixedHeadsConfig>();
    if (before == nullptr) continue;
    const bool mamba = one.kind == HeadTarget::recurformer;
    if ((mamba ? before->recurrent_groups : before->shift_groups).empty()) continue;
    raise<ValueError>("--distill-stage heads needs layers whose ", mamba ? "Mamba" : "shift",
                      " heads are all new; layer ", one.head.group.layer, " of ", teacher.folder.string(),
                      " has some already; take the stage logits");
  }
}

}  // namespace

Teacher load_teacher(const std::filesystem::path& path, Placement placement) {
  Checkpoint checkpoint = load_checkpoint(path, placement);
  Teacher teacher;
  teacher.model = std::move(checkpoint.model);
  teacher.tokenizer = checkpoint.tokenizer;
  teacher.folder = std::filesystem::absolute(checkpoint.folder);
  teacher.xxh3 = xxh3_hex(MappedFile::open(checkpoint.folder / "model.safetensors").text());
  return teacher;
}

void check_teacher(const Teacher& teacher, const Decoder& student, const Tokenizer& tokenizer, DistillStage stage) {
  const std::string who = "--distill: " + teacher.folder.string();
  const ModelConfig& config = teacher.model->config();
  if (config.vocab_size != student.config().vocab_size) {
    raise<ValueError>(who, " must have the vocabulary of the model, ", count_text(student.config().vocab_size, "token"),
                      "; it has ", config.vocab_size, "; take another teacher");
  }
  if (!(*teacher.tokenizer == tokenizer)) {
    raise<ValueError>(who, " must have the tokenizer of the model; it has another one, whose tokens mean other texts; ",
                      "take another teacher");
  }
  if (config.context < student.config().context) {
    raise<ValueError>(who, " must have a context of at least ", count_text(student.config().context, "token"),
                      ", that of the model; it has ", config.context, "; take another teacher");
  }
  if (stage == DistillStage::heads) check_heads(teacher, student.config());
}

std::unique_ptr<Objective> make_distillation(std::shared_ptr<const Decoder> teacher, const Decoder& student,
                                             const DistillOptions& options) {
  switch (options.stage) {
    case DistillStage::heads: return std::make_unique<HeadMatching>(std::move(teacher), student.config());
    case DistillStage::logits: return std::make_unique<LogitDistillation>(std::move(teacher), options.loss);
  }
  MIXGRAD_ASSERT(false, "a stage of the list");
  return nullptr;
}

void freeze_kept_parameters(const ModelConfig& teacher, Decoder& student) {
  std::set<std::string> trained;
  for (const MatchedHead& matched : matched_heads(teacher, student.config())) trained.insert(parameters_of(matched));
  for (std::size_t i = 0; i < student.parameters().size(); ++i) {
    Parameter& parameter = student.parameters()[i];
    parameter.trainable = std::any_of(trained.begin(), trained.end(),
                                      [&](const std::string& prefix) { return parameter.name.starts_with(prefix); });
  }
}

}  // namespace mixgrad
