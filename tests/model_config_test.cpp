// nn/model_config: the stored form, read strictly, and the rules between its numbers.
#include "nn/model_config.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/error.h"
#include "tests/temp_folder.h"

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

std::string refusal(const std::string& text) {
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
  CHECK(std::get<AttentionConfig>(config.layers[0]) == AttentionConfig{4, 2});
  CHECK(std::get<HsmConfig>(config.layers[1]) ==
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
  CHECK(has(refusal(""), "valid JSON is required"));
  CHECK(has(refusal(kGood.substr(0, 100)), "valid JSON is required; found parse error"));
  CHECK(has(refusal(kGood + "x"), "valid JSON"));
  CHECK(has(refusal("\xff\xfe"), "valid JSON"));
  CHECK(has(refusal("[]"), "the content must be an object; found an array of 0 values"));
  CHECK(has(refusal(std::string(100'000, '[')), "at most 16 levels"));
  CHECK(
      has(refusal(with("\"d_ff\"", "\"dff\"")), "unknown key \"dff\"; did you mean \"d_ff\"? the keys are vocab_size"));
  CHECK(has(refusal(with("\"bias\": true,", "")), "the key bias is required; it is missing"));
  CHECK(has(refusal(with(",\n  \"shortcut\": null", "")), "the key shortcut is required"));
  CHECK(has(refusal(with("\"bias\": true,", "\"bias\": true, \"bias\": true,")), "\"bias\" occurs twice"));
  CHECK(has(refusal(with("\"proj\": \"vo\",", "\"proj\": \"vo\", \"heads\": 2,")), "\"layers[1].heads\" occurs twice"));
  CHECK(has(refusal(with("\"kv_heads\": 2", "\"kvheads\": 2")),
            "layers[0]: unknown key \"kvheads\"; did you mean \"kv_heads\"?"));
  CHECK(has(refusal(with(",\n      \"kv_heads\": 2", "")), "the key layers[0].kv_heads is required"));
  CHECK(has(refusal(with("\"proj\": \"vo\",", "\"proj\": \"vo\", \"hidden\": 3,")), "unknown key \"hidden\""));
}

TEST_CASE("model config: wrong types and values name the key's path, what is allowed and what was found") {
  CHECK(refusal(with("\"d_model\": 16", "\"d_model\": \"16\"")) ==
        "config.json: d_model must be an integer from 1 to 65536; found \"16\"; correct the file");
  CHECK(has(refusal(with("\"d_model\": 16", "\"d_model\": 16.0")), "found 16.0"));
  CHECK(has(refusal(with("\"d_model\": 16", "\"d_model\": 0")), "d_model must be an integer from 1 to 65536; found 0"));
  CHECK(has(refusal(with("\"d_model\": 16", "\"d_model\": -16")), "found -16"));
  CHECK(has(refusal(with("\"d_model\": 16", "\"d_model\": 9223372036854775808")), "found 9223372036854775808"));
  CHECK(has(refusal(with("\"d_model\": 16", "\"d_model\": 18446744073709551617")), "d_model must be an integer"));
  CHECK(has(refusal(with("\"vocab_size\": 17", "\"vocab_size\": null")), "vocab_size must be an integer"));
  CHECK(
      has(refusal(with("\"context\": 12", "\"context\": 100000000")), "context must be an integer from 1 to 16777216"));
  CHECK(has(refusal(with("\"d_ff\": 32", "\"d_ff\": []")), "d_ff must be an integer"));
  CHECK(has(refusal(with("1e-05", "0")), "norm_eps must be a number above 0; found 0"));
  CHECK(has(refusal(with("1e-05", "-1e-5")), "norm_eps must be a number above 0"));
  CHECK(has(refusal(with("1e-05", "1e999")), "valid JSON"));
  CHECK(has(refusal(with("10000.0", "\"10000\"")), "rope_theta must be a number above 0; found \"10000\""));
  CHECK(has(refusal(with("true", "1")), "bias must be true or false; found 1"));
  CHECK(has(refusal(with("\"layernorm\"", "\"layer_norm\"")),
            "norm must be one of layernorm, rmsnorm (did you mean \"layernorm\"?); found \"layer_norm\""));
  CHECK(has(refusal(with("\"gelu\"", "\"tanh\"")), "mlp must be one of gelu, gelu_erf, relu, swiglu; found \"tanh\""));
  CHECK(has(refusal(with("\"rope\"", "3")), "positions must be one of learned, rope, none; found 3"));
  CHECK(has(refusal(with("\"vo\"", "\"ov\"")), "layers[1].proj must be one of none, v, o, vo"));
  CHECK(has(refusal(with("\"self\"", "\"one\"")), "layers[1].boundary must be one of zero, self; found \"one\""));
  CHECK(has(refusal(with("        2\n", "        0\n")),
            "layers[1].shifts[1] must be an integer from 1 to 16777216; found 0"));
  CHECK(has(refusal(with("        1,\n", "")), "layers[1].shifts must be an array of one shift per head, 2 values"));
  CHECK(has(refusal(with("\"heads\": 4", "\"heads\": 100000")), "layers[0].heads must be an integer from 1 to 4096"));
  const std::string head = kGood.substr(0, kGood.find("\"layers\""));
  CHECK(has(refusal(head + R"("layers": [], "shortcut": null})"), "layers must be an array of 1 to 1024 layers"));
  CHECK(has(refusal(head + R"("layers": {}, "shortcut": null})"), "layers must be an array; found an object"));
  CHECK(has(refusal(head + R"("layers": [3], "shortcut": null})"), "layers[0] must be an object; found 3"));
  CHECK(has(refusal(head + R"("layers": [{}], "shortcut": null})"), "the key layers[0].mixer is required"));
}

TEST_CASE("model config: what this version does not have") {
  CHECK(has(refusal(with("\"shortcut\": null", "\"shortcut\": {\"sources\": [0]}")),
            "shortcuts are not available in this version"));
  CHECK(has(refusal(with("\"mixer\": \"attention\"", "\"mixer\": \"recurformer\"")),
            "layers[0].mixer is \"recurformer\", which this version does not have yet; it has attention, hsm"));
  CHECK(has(refusal(with("\"mixer\": \"attention\"", "\"mixer\": \"atention\"")),
            "layers[0].mixer must be one of attention, hsm (did you mean \"attention\"?)"));
  CHECK(has(refusal(with("\"mixer\": \"attention\"", "\"mixer\": 1")), "layers[0].mixer must be a string"));
  for (const std::string variant : {"matrix", "gate_single", "gate_double", "fusion"}) {
    CHECK(has(refusal(with("\"vector\"", "\"" + variant + "\"")),
              "layers[1].variant is \"" + variant + "\", which this version does not have yet; it has scalar, vector"));
  }
  CHECK(has(refusal(with("\"vector\"", "\"vektor\"")), "one of scalar, vector (did you mean \"vector\"?)"));
}

TEST_CASE("model config: rules between the numbers, in a file and from the command line") {
  CHECK(refusal(with("\"d_model\": 16", "\"d_model\": 18")) ==
        "config.json: d_model must be a multiple of layers[0].heads; got 18 and 4; choose a number of heads that "
        "divides 18");
  CHECK(has(refusal(with("\"kv_heads\": 2", "\"kv_heads\": 3")),
            "layers[0].heads must be a multiple of kv_heads; got 4 and 3"));
  CHECK(has(refusal(with("\"heads\": 4", "\"heads\": 16")), "even head width d_model / heads; got 16 / 16 = 1"));
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
  CHECK(has(broken(config), "layers[1].shifts must hold one shift per head; got 1 shifts and 2 heads"));
  config.layers[1] = HsmConfig{HsmVariant::scalar, 2, {1, 0}};
  CHECK(has(broken(config), "layers[1].shifts[1] must be from 1 to 16777216; got 0"));
  config.layers[1] = HsmConfig{HsmVariant::scalar, 0, {}};
  CHECK(has(broken(config), "layers[1].heads must be from 1 to 4096; got 0"));
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
