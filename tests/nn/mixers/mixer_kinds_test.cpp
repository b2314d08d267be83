// Kinds of mixers and mixings that a program registers at run time, and what is refused.
#include "nn/mixers/mixer_kinds.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "nn/config/layer_fields.h"
#include "nn/config/layer_rules.h"
#include "ops/head_linear/head_linear.h"
#include "tests/support/mixer_laws.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad::test {
namespace {

enum class Shade : std::uint8_t { light, dark };

}  // namespace
}  // namespace mixgrad::test

namespace mixgrad {
template <>
const std::vector<std::string>& enum_names<test::Shade>() {
  static const std::vector<std::string> names{"light", "dark"};
  return names;
}
}  // namespace mixgrad

namespace mixgrad::test {
namespace {

// A kind that is not in the library: y = x w, a factor for each channel, with a key of every type that config.json has.
const LayerKind& tint_kind();

struct TintConfig {
  std::int64_t rounds = 1;
  std::vector<std::int64_t> marks{};
  double strength = 1;
  bool mirrored = false;
  Shade shade = Shade::light;
  std::int64_t depth = 2;
  std::vector<std::int64_t> more{};
  bool round = true;
  std::optional<bool> bias{};
  friend bool operator==(const TintConfig&, const TintConfig&) = default;

  static const LayerKind& kind() { return tint_kind(); }
  void fields(LayerFields& fields);
  void check(LayerRules& rules) const { rules.size("rounds", rounds, 9); }
};

struct TintState : MixerState {
  std::size_t bytes() const override { return 0; }
  std::unique_ptr<MixerState> clone() const override { return std::make_unique<TintState>(*this); }
};

class TintMixer : public MixerOf<TintState> {
 public:
  explicit TintMixer(const MixerSetup& setup)
      : factor_(
            setup.parameters.add(setup.prefix + ".factor", {setup.config.d_model, 1, 1}, Init::constant(1), false)) {}
  std::string name() const override { return "tint"; }
  std::string describe() const override { return "tint"; }
  double operations(std::int64_t) const override { return static_cast<double>(factor_->shape.numel()); }
  std::size_t state_bytes(std::int64_t, DType) const override { return 0; }
  Tensor forward(const LayerInput& input) const override { return head_linear(input.u(), factor_->value); }

 protected:
  std::unique_ptr<TintState> empty_state(std::int64_t, std::int64_t, Placement) const override {
    return std::make_unique<TintState>();
  }
  Tensor continued(const LayerInput& input, TintState&, TokenPosition) const override { return forward(input); }

 private:
  const Parameter* factor_;
};

std::unique_ptr<Mixer> make_tint_mixer(const LayerConfig& layer, const MixerSetup& setup) {
  CHECK(layer.get<TintConfig>().rounds >= 1);
  return std::make_unique<TintMixer>(setup);
}

LayerConfig expand_tint(const PatternItem& item, const PatternDefaults&, const PatternLayer& layer) {
  item.only({"rounds"});
  return TintConfig{.rounds = item.count("rounds", 1, 9), .marks = {layer.index, layer.count}};
}

LayerKind tint() {
  return {.name = "tint",
          .values = TintConfig{},
          .patterns = {{.name = "tint:plain", .example = "tint:plain(rounds=2)", .expand = expand_tint}},
          .forms = [](std::int64_t) { return std::vector<LayerForm>{{TintConfig{}}}; }};
}

const LayerKind& tint_kind() {
  static const LayerKind kind = tint();
  return kind;
}

void TintConfig::fields(LayerFields& fields) {
  fields.integer("rounds", rounds, {1, 9});
  fields.integers("marks", marks, {0, 99});
  fields.positive("strength", strength);
  fields.flag("mirrored", mirrored);
  fields.choice("shade", shade);
  fields.optional_integer("depth", depth, {1, 5}, 2);
  fields.optional_integers("more", more, {0, 9});
  fields.optional_flag("round", round, true);
  fields.optional_bias("bias", bias);
}

std::string refused_kind(const LayerKind& kind, const MakeMixer& make = make_tint_mixer) {
  return error_of<ValueError>([&] { register_mixer_kind({.layer = &kind, .make = make}); });
}

// Registered once in this process.
void register_tint() {
  static const bool once = [] {
    register_mixer_kind({.layer = &tint_kind(), .make = make_tint_mixer});
    return true;
  }();
  CHECK(once);
}

TEST_CASE("mixer kinds: a kind without one of its parts, or with a name that is taken, is refused") {
  const auto without = [](const auto& change) {
    LayerKind kind = tint();
    change(kind);
    return refused_kind(kind);
  };
  const std::string parts =
      "is required; it is missing; a kind has name, values, patterns (each with name, example and expand), forms and "
      "make";
  CHECK(without([](LayerKind& k) { k.name = ""; }) == "mixer kind \"\": the part name " + parts);
  CHECK(without([](LayerKind& k) { k.values.reset(); }) == "mixer kind \"tint\": the part values " + parts);
  CHECK(without([](LayerKind& k) { k.patterns.clear(); }) == "mixer kind \"tint\": the part patterns " + parts);
  CHECK(has(without([](LayerKind& k) { k.patterns[0].name = ""; }), "the part patterns.name is required"));
  CHECK(has(without([](LayerKind& k) { k.patterns[0].example = ""; }), "the part patterns.example is required"));
  CHECK(has(without([](LayerKind& k) { k.patterns[0].expand = nullptr; }), "the part patterns.expand is required"));
  CHECK(has(without([](LayerKind& k) { k.forms = nullptr; }), "the part forms is required"));
  CHECK(has(refused_kind(tint_kind(), nullptr), "mixer kind \"tint\": the part make is required; it is missing"));
  CHECK(
      has(error_of<ValueError>([] { register_mixer_kind({.make = make_tint_mixer}); }), "the part layer is required"));
  CHECK(has(without([](LayerKind&) {}), "values.kind() must be the kind that is registered"));  // a copy
  register_tint();
  CHECK(
      has(refused_kind(tint_kind()), "mixer kind \"tint\": the name must be one that no other kind has; got \"tint\""));
  CHECK(has(refused_kind(hsm_kind()), "got \"hsm\", which is taken; choose another name"));
}

TEST_CASE("mixer kinds: a registered kind is read, written, expanded, made and decoded, and the laws run on it") {
  register_tint();
  const std::vector<std::string> names = pattern_names();
  CHECK(std::count(names.begin(), names.end(), "tint:plain") == 1);
  ModelConfig config =
      decoder_config("tint:plain(rounds=3),attention", Positions::rope, Norm::rmsnorm, Mlp::gelu, true, false);
  CHECK(config.layers[0].get<TintConfig>() == TintConfig{.rounds = 3, .marks = {0, 1}});
  const std::string text = to_json(config);
  CHECK(parse_model_config(text, "x") == config);
  const auto refusal = [&](const std::string& from, const std::string& to) {
    std::string other = text;
    other.replace(other.find(from), from.size(), to);
    return error_of<FormatError>([&] { parse_model_config(other, "x"); });
  };
  CHECK(has(refusal("\"rounds\": 3", "\"rounds\": 10"), "layers[0].rounds must be an integer from 1 to 9; found 10"));
  CHECK(has(refusal("\"strength\": 1.0", "\"strength\": 0"), "layers[0].strength must be a number above 0; found 0"));
  CHECK(has(refusal("\"mirrored\": false", "\"mirrored\": 1"), "layers[0].mirrored must be true or false; found 1"));
  CHECK(has(refusal("\"light\"", "\"ligth\""), "layers[0].shade must be one of light, dark (did you mean \"light\"?)"));
  CHECK(has(refusal("\"shade\"", "\"shades\""), "layers[0]: unknown key \"shades\"; did you mean \"shade\"?"));
  CHECK(
      has(refusal("\"light\"", "\"light\", \"depth\": 6"), "layers[0].depth must be an integer from 1 to 5; found 6"));
  const auto read_with = [&](const std::string& keys) {
    std::string other = text;
    other.replace(other.find("\"light\""), 7, "\"light\", " + keys);
    const ModelConfig read = parse_model_config(other, "x");
    CHECK(parse_model_config(to_json(read), "x") == read);
    return read.layers[0].get<TintConfig>();
  };
  TintConfig changed{.rounds = 3, .marks = {0, 1}};
  CHECK(read_with("\"depth\": 2, \"more\": [], \"round\": true, \"bias\": false") == changed);
  changed.depth = 5;
  changed.more = {9, 0};
  changed.round = false;
  changed.bias = true;
  CHECK(read_with("\"depth\": 5, \"more\": [9, 0], \"round\": false, \"bias\": true") == changed);
  CHECK(to_text(changed).ends_with("\"depth\":5,\"more\":[9,0],\"round\":false,\"bias\":true}"));
  CHECK(has(error_of<ValueError>([] { expand_mixer_pattern("tint:plain(round=3)", {}); }),
            "tint:plain has the options rounds; got \"round\"; did you mean \"rounds\"?"));
  CHECK(has(error_of<ValueError>([&] { config.layers[0].get<AttentionConfig>(); }),
            "layer: a layer of the kind attention is required; got one of the kind tint"));
  const auto decoder = make_decoder(config, DType::f64);
  const Tensor tokens = token_tensor(2, 9, kVocabulary, 1);
  DecoderState state = decoder->new_state(2, 9);
  CHECK(differs(decoder->prefill(tokens, state), decoder->logits(tokens)) == kHolds);
  CHECK(mixer_kind_failures(tint_kind(), test_device()) == std::vector<std::string>());
}

struct Ghost {
  friend bool operator==(const Ghost&, const Ghost&) = default;
  static const LayerKind& kind() {
    static const LayerKind ghost{.name = "ghost", .values = {}, .patterns = {}, .forms = {}};
    return ghost;
  }
  void fields(LayerFields&) {}
  void check(LayerRules&) const {}
};

TEST_CASE("mixer kinds: a kind that nobody registered cannot be made") {
  CHECK(error_of<ValueError>([] { OwnMixer({Ghost{}}, DType::f64); }) ==
        "mixer: a kind that is built in or registered is required; got a layer of the kind ghost; call "
        "register_mixer_kind first");
}

TEST_CASE("mixer kinds: an option that a kind asks for without naming it is an error, whatever is given") {
  const PatternItem item("tint(rounds=2)", "tint(rounds=2)");
  CHECK(has(error_of<ValueError>([&] { item.count("rounds", 1); }),
            "the options of tint must be named by only() before they are asked for; \"rounds\" was not"));
  CHECK(error_of<ValueError>([&] { item.only({}); }) == "mixer: tint has no options; got \"rounds\"; leave it out");
}

TEST_CASE("hsm mixings: a registered mixing is a variant like the others") {
  // y = c (u + z)
  class SumMixing : public HsmMixing {
   public:
    explicit SumMixing(const HsmSetup& setup)
        : weight_(setup.add_matrices("sum.weight", setup.head_matrices())), rounds_(setup.layer.option("rounds")) {}
    Tensor forward(const Tensor& u, const HsmPast& past) const override {
      return head_linear(u, weight_->value, past.shifted(u), weight_->value, Tensor());
    }
    double operations() const override { return static_cast<double>(rounds_); }

   private:
    const Parameter* weight_;
    std::int64_t rounds_;
  };
  const HsmVariantKind kind{"test_sum",
                            {{.name = "rounds", .high = 7, .otherwise = [](std::int64_t) { return std::int64_t{2}; }}}};
  const auto make = [](const HsmSetup& setup) -> std::unique_ptr<HsmMixing> {
    return std::make_unique<SumMixing>(setup);
  };
  CHECK(has(error_of<ValueError>([&] { register_hsm_mixing(kind, nullptr); }), "the part make is required"));
  CHECK(
      has(error_of<ValueError>([&] { register_hsm_mixing({"vector"}, make); }), "got \"vector\"; choose another name"));
  static const HsmVariant sum = register_hsm_mixing(kind, make);
  CHECK(to_string(sum) == "test_sum");
  const HsmConfig layer = expand_mixer_pattern("hsm:test_sum(rounds=3)", {.d_model = 16})[0].get<HsmConfig>();
  CHECK(layer.variant == sum);
  CHECK(layer.option("rounds") == 3);
  CHECK(has(error_of<ValueError>([&] { layer.option("hidden"); }), "which it does not have"));
  CHECK(has(error_of<ValueError>([] { expand_mixer_pattern("hsm:test_sum(rounds=8)", {}); }), "from 1 to 7"));
  const ModelConfig config =
      decoder_config("hsm:test_sum,attention", Positions::rope, Norm::rmsnorm, Mlp::gelu, true, false);
  CHECK(parse_model_config(to_json(config), "x") == config);
  const Subject subject = subject_of({layer}, DType::f64);
  CHECK(pieces_differ(subject, 7) == kHolds);
  CHECK(not_causal(subject, 7) == kHolds);
}

}  // namespace
}  // namespace mixgrad::test
