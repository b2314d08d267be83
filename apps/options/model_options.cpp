#include "apps/options/model_options.h"

#include <algorithm>
#include <utility>

#include "apps/options/tokenizer_option.h"
#include "core/error.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"
#include "core/text/utf8.h"
#include "nn/config/layer_kinds.h"
#include "nn/config/patterns/mixer_pattern.h"
#include "nn/config/patterns/shortcut_pattern.h"
#include "nn/data/prepared.h"
#include "nn/data/tasks/task.h"
#include "nn/mixers/hsm_mixer.h"
#include "nn/model/equal_parameters.h"
#include "nn/tokenizers/tokenizer_files.h"
#include "nn/tokenizers/tokenizer_types.h"

namespace mixgrad::app {
UnknownRule parse_unknown(const std::string& text) {
  if (text.empty() || text == "error") return {};
  if (text == "skip") return UnknownRule::skip();
  constexpr std::string_view kReplace = "replace=";
  if (text.starts_with(kReplace)) {
    const std::string_view by = std::string_view(text).substr(kReplace.size());
    std::size_t end = 0;
    const std::int32_t code = by.empty() ? -1 : next_code_point(by, end);
    if (code >= 0 && end == by.size()) return UnknownRule::replace_by(static_cast<char32_t>(code));
    raise<ValueError>("--unknown replace=C needs exactly one character C; got ", quote(by));
  }
  raise<ValueError>("--unknown must be error, skip or replace=C with a character C; got ", quote(text), "; ",
                    did_you_mean(text, {"error", "skip", "replace=C"}), "choose one of them");
}

void ModelOptions::declare_unknown(OptionSet& options, OptionTraits traits) {
  traits.group = OptionGroup::data;
  traits.value = "error|skip|replace=C";
  traits.not_empty = true;
  traits.useless = useless_for_task("a task has no unknown characters", std::move(traits.useless));
  options.add(
      "unknown", unknown,
      "Characters of the text that the checkpoint's vocabulary lacks: refused (error), left out (skip), or replaced "
      "by the character C; without it error, and of a run's own text what that run has",
      std::move(traits));
}

void ModelOptions::declare_data(OptionSet& options, OnResume on_data, OnResume on_reading,
                                const std::function<std::string()>& useless) {
  options.add_several(
      "data", data,
      "Files, folders, globs of text, tokens, music or sound, or - (stdin); without it train and eval take the data of "
      "their checkpoint, a new run the shipped tiny Shakespeare",
      {.group = OptionGroup::data,
       .value = "SOURCE...",
       .on_resume = on_data,
       .not_empty = true,
       .useless = useless_for_task("the sequences of --task are generated")});
  source.declare(options, {.group = OptionGroup::data,
                           .on_resume = on_reading,
                           .useless = useless_for_task("the sequences of --task are generated", useless)});
}

void ModelOptions::declare_reset_state(OptionSet& options, const std::function<std::string()>& useless) {
  source.declare_reset_state(options, {.group = OptionGroup::data,
                                       .useless = useless_for_task("the sequences of --task are generated", useless)});
}

std::function<std::string()> ModelOptions::useless_for_task(const char* reason,
                                                            std::function<std::string()> otherwise) const {
  return [this, reason, otherwise = std::move(otherwise)]() -> std::string {
    if (!task.empty()) return reason;
    return otherwise ? otherwise() : "";
  };
}

void ModelOptions::declare_task(OptionSet& options, OnResume on_resume, const std::function<std::string()>& useless) {
  options.add("task", task, "A synthetic task in place of data, generated as it is needed: " + task_help(),
              {.group = OptionGroup::data,
               .value = "TASK",
               .on_resume = on_resume,
               .not_empty = true,
               .canonical =
                   [](const std::string& what, const std::string& text) {
                     try {
                       return parse_task(text)->text();
                     } catch (const ValueError& error) {
                       raise<ValueError>(what, std::string_view(error.what()).substr(std::string_view("task").size()));
                     }
                   },
               .useless = useless,
               .absent_means = ""});
}

bool ModelOptions::data_are_ids() const {
  if (std::find(data.begin(), data.end(), "-") != data.end()) return false;
  try {
    if (data.size() == 1 && is_prepared(data[0])) return true;
    // Ids may be those of a tokenizer from a file, not of one that is made from a text.
    return tokenizer_is_made(tokenizer) && !data.empty() &&
           find_sources(data).files[0].reader->yields == Reader::Yields::ids;
  } catch (const Error&) {  // reported when the data are opened
    return false;
  }
}

void ModelOptions::declare(OptionSet& options) {
  declare_data(options);
  declare_model(options);
}

void ModelOptions::declare_model(OptionSet& options) {
  options.add(
      "tokenizer", tokenizer, tokenizer_help(),
      {.group = OptionGroup::data,
       .value = "TOKENIZER",
       .decided_by = DecidedBy::checkpoint,
       .not_empty = true,
       .useless = useless_for_task("the tokens of --task are its own",
                                   useless_when([this] { return data_are_ids(); },
                                                "the data are token ids already, which are taken as they are"))});
  const OptionTraits traits{.group = OptionGroup::model, .decided_by = DecidedBy::checkpoint};
  const auto with_value = [&](const char* value) {
    OptionTraits named = traits;
    named.value = value;
    return named;
  };
  OptionTraits of_data = traits;
  of_data.useless = useless_for_task("--task sets it");
  options.add("vocab", vocab, {0, kMaxVocab}, "Size of the token table, at least the tokenizer's; 0 = the tokenizer's",
              of_data);
  options.add("mixer", mixer,
              "Mixers, comma-separated, repeated over the layers, with options like hsm:vector(heads=4): " +
                  join(pattern_names()),
              with_value("PATTERN"));
  options.add("shortcut", shortcut,
              "Hidden states that the last layer attends to, 0 = embedding: 2,4,6,8(hidden=1024,concat=sequence)",
              with_value("PATTERN"));
  options.add("layers", layers, {1, kMaxLayers}, "Number of layers", traits);
  options.add("d-model", d_model, {1, kMaxWidth}, "Width of the residual stream", traits);
  options.add("heads", heads, {1, kMaxHeads}, "Attention heads", traits);
  options.add("kv-heads", kv_heads, {0, kMaxHeads}, "Key/value heads; 0 = as many as heads", traits);
  options.add("context", context, {1, kMaxContext}, "Tokens of a training sequence", of_data);
  OptionTraits of_mlp = traits;
  of_mlp.useless = useless_when([this] { return mlp == to_string(Mlp::none); }, "with --mlp none there is no MLP");
  options.add("d-ff", d_ff, {0, kMaxHidden}, "Hidden width of the MLP; 0 = 4 d-model", of_mlp);
  options.add("match", match, {"width", "params", "operations"},
              "width: d-ff as given; params, operations: the MLP gets what the mixers save of them against "
              "softmax attention",
              of_mlp);
  options.add("mlp", mlp, enum_names<Mlp>(), "Activation of the MLP; none: layers have no MLP", traits);
  options.add("norm", norm, enum_names<Norm>(), "Normalisation", traits);
  options.add("norm-eps", norm_eps, kAboveZero, "Added inside the root of the norm", traits);
  options.add("positions", positions, enum_names<Positions>(), "How softmax layers know positions", traits);
  OptionTraits of_rope = traits;
  of_rope.useless = useless_when([this] { return positions != "rope"; }, "it belongs to --positions rope");
  options.add("rope-theta", rope_theta, kAboveZero, "Base of the rotary angles", of_rope);
  options.add_switch("bias", bias, "Linear layers and LayerNorm have biases", traits);
  options.add_switch("tie", tie, "The output head is the embedding table", traits);
  OptionTraits of_shifts = traits;
  of_shifts.useless =
      useless_when([this] { return !mixes_by_coefficients(); },
                   "it belongs to a --mixer with shift mixing by coefficients a and b (hsm:scalar, hsm:vector)");
  options.add("hsm-scale", hsm_scale, {.low = -1000, .high = 1000}, "Initial value of a and b of HSM layers",
              of_shifts);
}

bool ModelOptions::mixes_by_coefficients() const {
  try {
    const std::vector<LayerConfig> expanded =
        expand_mixer_pattern(mixer, {layers, heads, kv_heads, context, d_model, bias});
    return std::any_of(expanded.begin(), expanded.end(), [](const LayerConfig& layer) {
      const auto* hsm = layer.get_if<HsmConfig>();
      return hsm != nullptr && (hsm->variant == HsmVariant::scalar || hsm->variant == HsmVariant::vector);
    });
  } catch (const Error&) {  // reported when the model is made
    return true;
  }
}

DataSpec ModelOptions::data_spec() const {
  namespace fs = std::filesystem;
  DataSpec spec{.sources = data,
                .reading = source.reader_options(),
                .valid = source.valid_choice(),
                .document_token = source.document_token,
                .reset_state = source.reset_state,
                .vocab = vocab};
  if (!data.empty()) return spec;
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  for (const fs::path& candidate : {fs::path(MIXGRAD_SOURCE_TEXT), self.parent_path() / MIXGRAD_INSTALL_TEXT}) {
    if (!fs::exists(candidate, error)) continue;
    spec.sources = {candidate.string()};
    return spec;
  }
  raise<IoError>("the shipped text is not where it was built (", MIXGRAD_SOURCE_TEXT,
                 "); give a text with --data FILE");
}

TokenData ModelOptions::open_data(Identify identify) const {
  if (tokenizer_is_made(tokenizer)) return open_data_set(data_spec(), named_tokenizer_type(tokenizer), identify);
  try {
    return open_data_set(data_spec(), open_tokenizer(tokenizer), identify);
  } catch (const MisfitError& error) {  // characters outside the vocabulary: it is the file that is wrong
    raise<FormatError>(error.what());
  }
}

TokenData ModelOptions::open_data(TokenizerPtr known, Identify identify) const {
  const UnknownRule rule = parse_unknown(unknown);
  if (rule.action != UnknownRule::Action::refuse && known->expresses_any_text()) {
    raise<ValueError>(
        "--unknown cannot be given here: the tokenizer of the checkpoint can express any text; leave it out");
  }
  if (rule.action == UnknownRule::Action::replace && !known->has_character(rule.replacement)) {
    raise<ValueError>("--unknown replace=C needs a character C of the checkpoint's vocabulary; got ",
                      show_code_point(rule.replacement), "; choose another one");
  }
  try {
    return open_data_set(data_spec(), std::move(known), identify, rule);
  } catch (const MisfitError& error) {  // it is the file that is wrong
    raise<FormatError>(error.what(), "; or give --unknown skip or --unknown replace=C");
  }
}

ModelConfig ModelOptions::config(std::int64_t tokenizer_vocabulary) const {
  if (vocab != 0 && vocab < tokenizer_vocabulary) {
    raise<ValueError>("--vocab must be at least the tokenizer's ", count_text(tokenizer_vocabulary, "token"),
                      " (or 0), got ", vocab);
  }
  ModelConfig config;
  config.vocab_size = vocab == 0 ? tokenizer_vocabulary : vocab;
  config.context = context;
  config.d_model = d_model;
  config.norm = parse_enum<Norm>(norm, "--norm");
  config.norm_eps = norm_eps;
  config.positions = parse_enum<Positions>(positions, "--positions");
  config.rope_theta = rope_theta;
  config.mlp = parse_enum<Mlp>(mlp, "--mlp");
  if (config.mlp != Mlp::none) config.d_ff = d_ff == 0 ? 4 * d_model : d_ff;
  config.bias = bias;
  config.tie_embeddings = tie;
  config.layers = expand_mixer_pattern(mixer, {layers, heads, kv_heads, context, d_model, bias});
  if (!shortcut.empty()) config.shortcut = parse_shortcut_pattern(shortcut);
  validate(config, "model options");
  if (match != "width" && config.mlp != Mlp::none) {
    const AttentionConfig attention{heads, kv_heads == 0 ? heads : kv_heads};
    config.d_ff =
        match == "params" ? equal_parameter_width(config, attention) : equal_operation_width(config, attention);
  }
  return config;
}

void ModelOptions::initialize(Decoder& model, std::uint64_t seed) const {
  set_hsm_scale(model.parameters(), model.config(), hsm_scale);
  model.parameters().initialize(seed);
}

namespace {

using Values = std::vector<std::pair<std::string, std::string>>;

// The char family: 0.8 M parameters whatever the mixer, 2,500 steps of 768 characters.
Values char_values(const char* mixer, const char* positions) {
  return {{"layers", "4"},   {"d-model", "128"},       {"heads", "4"},          {"context", "64"},
          {"mlp", "swiglu"}, {"norm", "rmsnorm"},      {"batch", "12"},         {"steps", "2500"},
          {"lr", "0.004"},   {"min-lr", "0.0001"},     {"warmup", "100"},       {"mixer", mixer},
          {"d-ff", "344"},   {"positions", positions}, {"weight-decay", "0.1"}, {"match", "params"}};
}

// The same with a shortcut; its MLPs are taken from those of the layers.
Values char_shortcut_values() {
  Values values = char_values("attention", "rope");
  values.emplace_back("shortcut", "1,2,3(hidden=128)");
  return values;
}

}  // namespace

const std::vector<Preset>& model_presets() {
  static const std::vector<Preset> presets = {
      {"char", "4 softmax layers, 128 wide, context 64: two minutes on two cores", char_values("attention", "rope")},
      {"char-hsm", "scalar shift mixing in place of softmax, as many parameters",
       char_values("hsm:scalar(heads=4)", "none")},
      {"char-hybrid", "shift mixing and softmax layers alternate, as many parameters",
       char_values("hsm:scalar(heads=4),attention", "rope")},
      {"char-mamba", "every head a Mamba block, as many parameters", char_values("mamba(expand=1)", "none")},
      {"char-recurformer", "half of the heads Mamba blocks, half softmax, as many parameters",
       char_values("recurformer(fraction=0.5,expand=1)", "rope")},
      {"char-mixed", "softmax, Mamba and shift heads in every layer, as many parameters",
       char_values("mixed(softmax=2,mamba=1,shift=1,expand=1)", "rope")},
      {"char-shortcut", "the last layer attends to the layers below it, as many parameters", char_shortcut_values()},
      {"shortcut10",
       "the paper's form, narrow: 10 layers, the last attends to layers 2, 4, 6 and 8",
       {{"layers", "10"},
        {"d-model", "96"},
        {"heads", "4"},
        {"context", "64"},
        {"positions", "rope"},
        {"shortcut", "2,4,6,8(hidden=384,concat=sequence)"},
        {"batch", "12"},
        {"steps", "2500"},
        {"lr", "0.002"},
        {"min-lr", "0.0001"},
        {"warmup", "100"},
        {"weight-decay", "0.1"}}},
      {"baby",
       "6 softmax layers, 384 wide, context 256: for an hour on two cores, or a larger machine",
       {{"layers", "6"},
        {"d-model", "384"},
        {"heads", "6"},
        {"context", "256"},
        {"positions", "rope"},
        {"batch", "8"},
        {"steps", "3000"},
        {"lr", "0.001"},
        {"min-lr", "0.0001"},
        {"warmup", "100"},
        {"weight-decay", "0.1"}}},
      {"nanogpt-char",
       "nanoGPT's character model with dropout, 10.7 M parameters; for a GPU",
       {{"layers", "6"},
        {"d-model", "384"},
        {"heads", "6"},
        {"context", "256"},
        {"positions", "learned"},
        {"mlp", "gelu_erf"},
        {"batch", "64"},
        {"steps", "5000"},
        {"lr", "0.001"},
        {"min-lr", "0.0001"},
        {"warmup", "100"},
        {"beta2", "0.99"},
        {"weight-decay", "0.1"},
        {"clip", "1"},
        {"dropout", "0.2"},
        {"eval-every", "250"}}}};
  return presets;
}

}  // namespace mixgrad::app
