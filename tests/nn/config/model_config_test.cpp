// nn/config/model_config.h: the stored form, read strictly, and the rules between its numbers.
#include "nn/config/model_config.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/config/kinds/attention.h"
#include "nn/config/kinds/hsm.h"
#include "nn/config/kinds/mixed_heads.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;

const std::string kGood = R"({
  "vocab_size": 17,
  "context": 12,
  "d_model": 16,
  "d_ff": 32,
  "norm": "layernorm",
  "norm_eps": 1e-05,
  "positions": "rope",
  "rope_theta": 10000.0,
  "mlp": "gelu",
  "bias": true,
  "tie_embeddings": false,
  "layers": [
    {
      "mixer": "attention",
      "heads": 4,
      "kv_heads": 2
    },
    {
      "mixer": "hsm",
      "variant": "vector",
      "heads": 2,
      "shifts": [
        1,
        2
      ],
      "proj": "vo",
      "boundary": "self"
    }
  ],
  "shortcut": null
}
)";

// kGood with one piece replaced.
std::string with(const std::string& from, const std::string& to) {
  std::string text = kGood;
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

std::string config_refusal(const std::string& text) {
  const std::string error = error_of<FormatError>([&] { parse_model_config(text, "config.json"); });
  CHECK(error.substr(0, 13) == "config.json: ");
  return error;
}

ModelConfig good() { return parse_model_config(kGood, "config.json"); }

std::string broken(const ModelConfig& config) {
  return error_of<ValueError>([&] { validate(config, "train"); });
}

TEST_CASE("model config: reading and writing are inverse, the key order is stable") {
  const ModelConfig config = good();
  CHECK(config.vocab_size == 17);
  CHECK(config.context == 12);
  CHECK(config.d_model == 16);
  CHECK(config.d_ff == 32);
  CHECK(config.norm == Norm::layernorm);
  CHECK(config.norm_eps == 1e-5);
  CHECK(config.positions == Positions::rope);
  CHECK(config.rope_theta == 1e4);
  CHECK(config.mlp == Mlp::gelu);
  CHECK(config.bias);
  CHECK_FALSE(config.tie_embeddings);
  REQUIRE(config.layers.size() == 2);
  CHECK(config.layers[0].get<AttentionConfig>() == AttentionConfig{4, 2});
  CHECK(config.layers[1].get<HsmConfig>() ==
        HsmConfig{HsmVariant::vector, 2, {1, 2}, HsmProjection::vo, Boundary::self});
  CHECK(to_json(config) == kGood);
  CHECK(parse_model_config(to_json(config), "x") == config);
}

TEST_CASE("model config: every name of every enumeration") {
  for (const std::string& name : enum_names<Norm>()) CHECK(to_string(parse_enum<Norm>(name, "x")) == name);
  for (const std::string& name : enum_names<Positions>()) CHECK(to_string(parse_enum<Positions>(name, "x")) == name);
  for (const std::string& name : enum_names<Mlp>()) CHECK(to_string(parse_enum<Mlp>(name, "x")) == name);
  for (const std::string& name : enum_names<HsmVariant>()) CHECK(to_string(parse_enum<HsmVariant>(name, "x")) == name);
  for (const std::string& name : enum_names<Boundary>()) CHECK(to_string(parse_enum<Boundary>(name, "x")) == name);
  for (const std::string& name : enum_names<HsmProjection>()) {
    CHECK(to_string(parse_enum<HsmProjection>(name, "x")) == name);
  }
  CHECK(to_string(Mlp::swiglu) == "swiglu");
  CHECK(error_of<ValueError>([] { parse_enum<Norm>("rms_norm", "--norm"); }) ==
        "--norm must be one of layernorm, rmsnorm; got \"rms_norm\"; did you mean \"rmsnorm\"? choose one of them");
}

TEST_CASE("model config: JSON that is none, keys unknown, missing or twice") {
  CHECK(has(config_refusal(""), "valid JSON is required"));
  CHECK(has(config_refusal(kGood.substr(0, 100)), "valid JSON is required; found parse error"));
  CHECK(has(config_refusal(kGood + "x"), "valid JSON"));
  CHECK(has(config_refusal(kGood + '\0' + "{}"), "a zero byte at offset " + std::to_string(kGood.size())));
  CHECK(has(config_refusal("\xff\xfe"), "valid JSON"));
  CHECK(has(config_refusal("[]"), "the content must be an object; found an array of 0 values"));
  CHECK(has(config_refusal(std::string(100'000, '[')), "at most 16 levels"));
  CHECK(has(config_refusal(with("\"d_ff\"", "\"dff\"")),
            "unknown key \"dff\"; did you mean \"d_ff\"? the keys are vocab_size"));
  CHECK(has(config_refusal(with("\"bias\": true,", "")), "the key bias is required; it is missing"));
  CHECK(has(config_refusal(with(",\n  \"shortcut\": null", "")), "the key shortcut is required"));
  CHECK(has(config_refusal(with("\"bias\": true,", "\"bias\": true, \"bias\": true,")), "\"bias\" occurs twice"));
  CHECK(has(config_refusal(with("\"proj\": \"vo\",", "\"proj\": \"vo\", \"heads\": 2,")),
            "\"layers[1].heads\" occurs twice"));
  CHECK(has(config_refusal(with("\"kv_heads\": 2", "\"kvheads\": 2")),
            "layers[0]: unknown key \"kvheads\"; did you mean \"kv_heads\"?"));
  CHECK(has(config_refusal(with(",\n      \"kv_heads\": 2", "")), "the key layers[0].kv_heads is required"));
  CHECK(has(config_refusal(with("\"proj\": \"vo\",", "\"proj\": \"vo\", \"hidden\": 3,")), "unknown key \"hidden\""));
}

TEST_CASE("model config: wrong types and values name the key's path, what is allowed and what was found") {
  CHECK(config_refusal(with("\"d_model\": 16", "\"d_model\": \"16\"")) ==
        "config.json: d_model must be an integer from 1 to 65536; found \"16\"; correct the file");
  CHECK(has(config_refusal(with("\"d_model\": 16", "\"d_model\": 16.0")), "found 16.0"));
  CHECK(has(config_refusal(with("\"d_model\": 16", "\"d_model\": 0")),
            "d_model must be an integer from 1 to 65536; found 0"));
  CHECK(has(config_refusal(with("\"d_model\": 16", "\"d_model\": -16")), "found -16"));
  CHECK(has(config_refusal(with("\"d_model\": 16", "\"d_model\": 9223372036854775808")), "found 9223372036854775808"));
  CHECK(
      has(config_refusal(with("\"d_model\": 16", "\"d_model\": 18446744073709551617")), "d_model must be an integer"));
  CHECK(has(config_refusal(with("\"vocab_size\": 17", "\"vocab_size\": null")), "vocab_size must be an integer"));
  CHECK(has(config_refusal(with("\"context\": 12", "\"context\": 100000000")),
            "context must be an integer from 1 to 16777216"));
  CHECK(has(config_refusal(with("\"d_ff\": 32", "\"d_ff\": []")), "d_ff must be an integer"));
  CHECK(has(config_refusal(with("1e-05", "0")), "norm_eps must be a number above 0; found 0"));
  CHECK(has(config_refusal(with("1e-05", "-1e-5")), "norm_eps must be a number above 0"));
  CHECK(has(config_refusal(with("1e-05", "1e999")), "valid JSON"));
  CHECK(has(config_refusal(with("10000.0", "\"10000\"")), "rope_theta must be a number above 0; found \"10000\""));
  CHECK(has(config_refusal(with("true", "1")), "bias must be true or false; found 1"));
  CHECK(has(config_refusal(with("\"layernorm\"", "\"layer_norm\"")),
            "norm must be one of layernorm, rmsnorm (did you mean \"layernorm\"?); found \"layer_norm\""));
  CHECK(has(config_refusal(with("\"gelu\"", "\"tanh\"")),
            "mlp must be one of gelu, gelu_erf, relu, swiglu, none; found \"tanh\""));
  CHECK(has(config_refusal(with("\"rope\"", "3")), "positions must be one of learned, rope, none; found 3"));
  CHECK(has(config_refusal(with("\"vo\"", "\"ov\"")), "layers[1].proj must be one of none, v, o, vo"));
  CHECK(
      has(config_refusal(with("\"self\"", "\"one\"")), "layers[1].boundary must be one of zero, self; found \"one\""));
  CHECK(has(config_refusal(with("        2\n", "        0\n")),
            "layers[1].shifts[1] must be an integer from 1 to 16777216; found 0"));
  CHECK(has(config_refusal(with("        1,\n", "")),
            "layers[1].shifts must be an array of one shift per head, 2 values"));
  CHECK(has(config_refusal(with("\"heads\": 4", "\"heads\": 100000")),
            "layers[0].heads must be an integer from 1 to 4096"));
  const std::string head = kGood.substr(0, kGood.find("\"layers\""));
  CHECK(
      has(config_refusal(head + R"("layers": [], "shortcut": null})"), "layers must be an array of 1 to 1024 layers"));
  CHECK(has(config_refusal(head + R"("layers": {}, "shortcut": null})"), "layers must be an array; found an object"));
  CHECK(has(config_refusal(head + R"("layers": [3], "shortcut": null})"), "layers[0] must be an object; found 3"));
  CHECK(has(config_refusal(head + R"("layers": [{}], "shortcut": null})"), "the key layers[0].mixer is required"));
}

TEST_CASE("model config: names of mixers and variants") {
  CHECK(has(config_refusal(with("\"mixer\": \"attention\"", "\"mixer\": \"atention\"")),
            "layers[0].mixer must be one of " + join(mixer_names()) + " (did you mean \"attention\"?)"));
  CHECK(has(config_refusal(with("\"mixer\": \"attention\"", "\"mixer\": 1")), "layers[0].mixer must be a string"));
  CHECK(has(config_refusal(with("\"vector\"", "\"vektor\"")),
            "one of " + join(enum_names<HsmVariant>()) + " (did you mean \"vector\"?)"));
  for (const std::string& variant : enum_names<HsmVariant>()) {
    if (!hsm_variant(parse_enum<HsmVariant>(variant, "x")).options.empty()) continue;
    const ModelConfig config = parse_model_config(with("\"vector\"", "\"" + variant + "\""), "x");
    CHECK(to_string(config.layers[1].get<HsmConfig>().variant) == variant);
    CHECK(parse_model_config(to_json(config), "x") == config);
  }
  CHECK(has(config_refusal(with("\"vector\"", "\"fusion\"")), "the key layers[1].hidden is required"));
  std::string fusion = with("\"vector\"", "\"fusion\"");
  fusion.replace(fusion.find("\"self\""), 6, "\"self\", \"hidden\": 7");
  const ModelConfig config = parse_model_config(fusion, "x");
  CHECK(config.layers[1].get<HsmConfig>().option("hidden") == 7);
  CHECK(parse_model_config(to_json(config), "x") == config);
}

// A layer of softmax, Mamba and shift heads.
std::string mixed_layer(const std::string& from = "", const std::string& to = "") {
  std::string layer =
      R"({"mixer": "recurformer", "heads": 8, "kv_heads": 4, "recurrent_groups": [1, 3], "d_state": 8, "d_conv": 3,
          "expand": 1, "dt_rank": 2, "shift_groups": [0], "shifts": [1, 9]})";
  if (!from.empty()) {
    const std::size_t at = layer.find(from);
    REQUIRE(at != std::string::npos);
    layer.replace(at, from.size(), to);
  }
  const std::string first = R"({
      "mixer": "attention",
      "heads": 4,
      "kv_heads": 2
    })";
  return with(first, layer);
}

TEST_CASE("model config: recurformer layers") {
  const ModelConfig config = parse_model_config(mixed_layer(), "x");
  const MixedHeadsConfig expected{8, 4, {1, 3}, 8, 3, 1, 2, {0}, {1, 9}};
  CHECK(config.layers[0].get<MixedHeadsConfig>() == expected);
  CHECK(parse_model_config(to_json(config), "x") == config);
  CHECK(has(config_refusal(mixed_layer("[1, 3]", "[1, 4]")),
            "layers[0].recurrent_groups[1] must be an integer from 0 to 3; found 4"));
  CHECK(has(config_refusal(mixed_layer("[1, 3]", "[3, 1]")),
            "layers[0].recurrent_groups must be ascending, each once; got 1 after 3"));
  CHECK(has(config_refusal(mixed_layer("[1, 3]", "[1, 1]")), "must be ascending, each once; got 1 after 1"));
  CHECK(has(config_refusal(mixed_layer("[1, 3]", "[0, 3]")), "recurrent_groups or in shift_groups; got 0 in both"));
  CHECK(has(config_refusal(mixed_layer("[1, 9]", "[1]")),
            "layers[0].shifts must hold one shift per head of shift_groups; got 1 shift and 2 heads"));
  CHECK(has(config_refusal(mixed_layer("[1, 9]", "[1, 0]")), "layers[0].shifts[1] must be an integer from 1"));
  CHECK(has(config_refusal(mixed_layer("\"d_conv\": 3", "\"d_conv\": 0")),
            "layers[0].d_conv must be an integer from 1 to 64"));
  CHECK(has(config_refusal(mixed_layer("\"dt_rank\": 2", "\"dtrank\": 2")), "did you mean \"dt_rank\"?"));
  CHECK(has(config_refusal(mixed_layer("\"kv_heads\": 4", "\"kv_heads\": 3")), "recurrent_groups[1] must be"));
  ModelConfig wrong = config;
  MixedHeadsConfig layer = expected;
  layer.recurrent_groups = {-1};
  wrong.layers[0] = layer;
  CHECK(has(broken(wrong), "layers[0].recurrent_groups[0] must be from 0 to 3; got -1"));
  layer = expected;
  layer.expand = 65;
  wrong.layers[0] = layer;
  CHECK(has(broken(wrong), "layers[0].expand must be from 1 to 64; got 65"));
  layer = {16, 16, {}, 16, 4, 2, 1, {}, {}};
  wrong.layers[0] = layer;
  CHECK(has(broken(wrong), "positions rope needs an even head width"));
  layer.shift_groups = {0, 1, 2, 3, 4, 5, 6, 7};
  layer.recurrent_groups = {8, 9, 10, 11, 12, 13, 14, 15};
  layer.shifts = {1, 1, 1, 1, 1, 1, 1, 1};
  wrong.layers[0] = layer;
  CHECK(broken(wrong).empty());  // nothing is rotated
}

// kGood with these keys in its attention layer.
std::string with_attention_keys(const std::string& keys) {
  return with("\"kv_heads\": 2", "\"kv_heads\": 2,\n      " + keys);
}

TEST_CASE("model config: optional keys mean what they say, and are written when they say something else") {
  const auto attention = [](const std::string& keys) {
    return parse_model_config(with_attention_keys(keys), "x").layers[0].get<AttentionConfig>();
  };
  CHECK(attention("\"window\": 5") == AttentionConfig{4, 2, 5});
  CHECK(attention("\"window\": 0") == AttentionConfig{4, 2});
  CHECK(attention("\"qkv_bias\": false") == AttentionConfig{4, 2, 0, false});
  CHECK(attention("\"qkv_bias\": true") == AttentionConfig{4, 2});  // as the model's
  CHECK(to_json(parse_model_config(with_attention_keys("\"qkv_bias\": true, \"window\": 0"), "x")) == kGood);
  const std::string both = with_attention_keys("\"window\": 5,\n      \"qkv_bias\": false");
  CHECK(to_json(parse_model_config(both, "x")) == both);
  CHECK(has(config_refusal(with_attention_keys("\"window\": -1")),
            "layers[0].window must be an integer from 0 to 16777216; found -1"));
  CHECK(has(config_refusal(with_attention_keys("\"window\": true")), "layers[0].window must be an integer"));
  CHECK(has(config_refusal(with_attention_keys("\"qkv_bias\": null")), "layers[0].qkv_bias must be true or false"));
  CHECK(has(config_refusal(with_attention_keys("\"windows\": 3")),
            "layers[0]: unknown key \"windows\"; did you mean \"window\"? the keys are mixer, heads, kv_heads; "
            "optional ones are window, qkv_bias"));
  ModelConfig config = good();
  config.layers[0] = AttentionConfig{.heads = 4, .kv_heads = 2, .window = -1};
  CHECK(has(broken(config), "layers[0].window must be from 0 to 16777216; got -1"));
}

TEST_CASE("model config: mlp none has no hidden units, and any other MLP has some") {
  std::string text = with("\"d_ff\": 32", "\"d_ff\": 0");
  text.replace(text.find("\"gelu\""), 6, "\"none\"");
  const ModelConfig config = parse_model_config(text, "x");
  CHECK(config.mlp == Mlp::none);
  CHECK(config.d_ff == 0);
  CHECK(parse_model_config(to_json(config), "x") == config);
  CHECK(has(config_refusal(with("\"gelu\"", "\"none\"")), "d_ff must be 0 where mlp is none; got 32; set it to 0"));
  CHECK(has(config_refusal(with("\"d_ff\": 32", "\"d_ff\": 0")), "d_ff must be from 1 to 1048576; got 0"));
}

TEST_CASE("model config: window_groups, qkv_bias and o of recurformer layers") {
  const auto layer = [](const std::string& keys) { return mixed_layer("[1, 9]", "[1, 9], " + keys); };
  const auto parsed = [&](const std::string& keys) {
    const ModelConfig config = parse_model_config(layer(keys), "x");
    CHECK(parse_model_config(to_json(config), "x") == config);
    return config.layers[0].get<MixedHeadsConfig>();
  };
  MixedHeadsConfig expected{8, 4, {1, 3}, 8, 3, 1, 2, {0}, {1, 9}};
  CHECK(parsed("\"window_groups\": [], \"window\": 0, \"o\": true, \"qkv_bias\": true") == expected);
  expected.window_groups = {2};
  expected.window = 7;
  expected.o = false;
  expected.qkv_bias = false;
  CHECK(parsed("\"window_groups\": [2], \"window\": 7, \"o\": false, \"qkv_bias\": false") == expected);
  CHECK(has(config_refusal(layer("\"window_groups\": [2]")),
            "layers[0].window must be from 1 to 16777216 where window_groups names groups; got 0"));
  CHECK(has(config_refusal(layer("\"window\": 7")),
            "layers[0].window belongs to the groups of window_groups; got 7 and no such group"));
  CHECK(has(config_refusal(layer("\"window_groups\": [1], \"window\": 7")),
            "layers[0]: a group may stand in recurrent_groups or in window_groups; got 1 in both"));
  CHECK(has(config_refusal(layer("\"window_groups\": [0], \"window\": 7")),
            "layers[0]: a group may stand in shift_groups or in window_groups; got 0 in both"));
  CHECK(has(config_refusal(layer("\"window_groups\": [4], \"window\": 7")),
            "layers[0].window_groups[0] must be an integer from 0 to 3; found 4"));
  CHECK(has(config_refusal(layer("\"window_groups\": [2, 2], \"window\": 7")), "must be ascending, each once"));
  ModelConfig config = good();
  config.layers[0] = MixedHeadsConfig{.heads = 1, .kv_heads = 1, .recurrent_groups = {0}, .qkv_bias = false};
  CHECK(has(broken(config), "layers[0].qkv_bias belongs to softmax groups; got false and no such group; leave it out"));
}

TEST_CASE("model config: shortcuts") {
  const std::string layers =
      kGood.substr(kGood.find("\"layers\""), kGood.find(",\n  \"shortcut\"") - kGood.find("\"layers\""));
  std::string text = with(layers, R"("layers": [{"mixer": "attention", "heads": 2, "kv_heads": 1},
                                                {"mixer": "attention", "heads": 2, "kv_heads": 1}])");
  text.replace(text.find("null"), 4, R"({"sources": [0, 1], "hidden": 5, "concat": "depth"})");
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string other = text;
    return other.replace(other.find(from), from.size(), to);
  };
  const ModelConfig config = parse_model_config(text, "x");
  CHECK(config.shortcut == ShortcutConfig{{0, 1}, 5, ShortcutConcat::depth});
  CHECK(parse_model_config(to_json(config), "x") == config);
  CHECK(has(config_refusal(changed("[0, 1]", "[0, 2]")), "shortcut.sources[1] must be from 0 (the embedding) to 1"));
  CHECK(has(config_refusal(changed("[0, 1]", "[]")), "shortcut.sources must name at least one hidden state"));
  CHECK(
      has(config_refusal(changed("[0, 1]", "[1, 0]")), "shortcut.sources must be ascending, each once; got 0 after 1"));
  CHECK(has(config_refusal(changed("[0, 1]", "[1, 1]")), "must be ascending, each once"));
  CHECK(has(config_refusal(changed("[0, 1]", "[-1]")), "shortcut.sources[0] must be an integer from 0"));
  CHECK(has(config_refusal(changed("\"hidden\": 5", "\"hidden\": 0")), "shortcut.hidden must be an integer from 1"));
  CHECK(
      has(config_refusal(changed("\"depth\"", "\"deep\"")), "shortcut.concat must be one of sequence, feature, depth"));
  CHECK(has(config_refusal(changed("\"hidden\"", "\"hiden\"")), "did you mean \"hidden\"?"));
  CHECK(has(config_refusal(with("\"shortcut\": null", "\"shortcut\": 3")),
            "shortcut must be null or an object; found 3"));
  CHECK(has(config_refusal(with("null", R"({"sources": [0], "hidden": 5, "concat": "depth"})")),
            "a shortcut needs attention as the last layer; got hsm in layers[1]"));
  ModelConfig windowed = config;
  windowed.layers[1] = AttentionConfig{.heads = 2, .kv_heads = 1, .window = 3};
  CHECK(has(broken(windowed),
            "the last layer of a model with a shortcut takes neither window nor qkv_bias; got window in layers[1]"));
  windowed.layers[1] = AttentionConfig{.heads = 2, .kv_heads = 1, .qkv_bias = false};
  CHECK(has(broken(windowed), "takes neither window nor qkv_bias; got qkv_bias in layers[1]"));
}

TEST_CASE("model config: rules between the numbers, in a file and from the command line") {
  CHECK(config_refusal(with("\"d_model\": 16", "\"d_model\": 18")) ==
        "config.json: d_model must be a multiple of layers[0].heads; got 18 and 4; choose a number of heads that "
        "divides 18");
  CHECK(has(config_refusal(with("\"kv_heads\": 2", "\"kv_heads\": 3")),
            "layers[0].heads must be a multiple of kv_heads; got 4 and 3"));
  CHECK(has(config_refusal(with("\"heads\": 4", "\"heads\": 16")), "even head width d_model / heads; got 16 / 16 = 1"));
  validate(good());
  ModelConfig config = good();
  config.d_model = 17;
  CHECK(has(broken(config), "train: d_model must be a multiple of layers[0].heads; got 17 and 4"));
  config = good();
  config.layers[0] = AttentionConfig{16, 1};
  CHECK(has(broken(config), "positions rope needs an even head width"));
  config.positions = Positions::none;
  CHECK(broken(config).empty());
  config.layers[1] = HsmConfig{HsmVariant::scalar, 3, {1, 1, 1}};
  CHECK(has(broken(config), "d_model must be a multiple of layers[1].heads; got 16 and 3"));
  config.layers[1] = HsmConfig{HsmVariant::scalar, 2, {1}};
  CHECK(has(broken(config), "layers[1].shifts must hold one shift per head; got 1 shift and 2 heads"));
  config.layers[1] = HsmConfig{HsmVariant::scalar, 2, {1, 0}};
  CHECK(has(broken(config), "layers[1].shifts[1] must be from 1 to 16777216; got 0"));
  config.layers[1] = HsmConfig{HsmVariant::scalar, 0, {}};
  CHECK(has(broken(config), "layers[1].heads must be from 1 to 4096; got 0"));
  config.layers[1] = HsmConfig{HsmVariant::scalar, 1, {1}, HsmProjection::none, Boundary::zero, {8}};
  CHECK(has(broken(config),
            "layers[1].options must hold a value for each option of the variant scalar, 0 values; got 1"));
  config.layers[1] = AttentionConfig{4, 0};
  CHECK(has(broken(config), "layers[1].kv_heads must be from 1 to 4096; got 0"));
  config.layers.clear();
  CHECK(has(broken(config), "there must be from 1 to 1024 layers; got 0"));
  const auto changed = [](const auto& change) {
    ModelConfig result = good();
    change(result);
    return broken(result);
  };
  CHECK(has(changed([](ModelConfig& c) { c.vocab_size = 0; }), "vocab_size must be from 1 to 16777216; got 0"));
  CHECK(has(changed([](ModelConfig& c) { c.context = 0; }), "context must be from 1"));
  CHECK(has(changed([](ModelConfig& c) { c.d_model = INT64_MAX; }), "d_model must be from 1 to 65536"));
  CHECK(has(changed([](ModelConfig& c) { c.d_ff = -1; }), "d_ff must be from 1"));
  CHECK(has(changed([](ModelConfig& c) { c.norm_eps = 0; }), "norm_eps must be a finite number above 0; got 0"));
  CHECK(has(changed([](ModelConfig& c) { c.rope_theta = HUGE_VAL; }), "rope_theta must be a finite number above 0"));
}

}  // namespace
}  // namespace mixgrad
