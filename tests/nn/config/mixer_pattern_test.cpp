// nn/config/patterns/mixer_pattern.h: the --mixer option.
#include "nn/config/patterns/mixer_pattern.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/config/kinds/attention.h"
#include "nn/config/kinds/hsm.h"
#include "nn/config/kinds/mixed_heads.h"
#include "nn/config/shift_schedule.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;

const PatternDefaults kDefaults{.layers = 3, .heads = 8, .kv_heads = 0, .context = 64};

std::vector<LayerConfig> expand(const std::string& pattern, const PatternDefaults& defaults = kDefaults) {
  return expand_mixer_pattern(pattern, defaults);
}

std::string pattern_refusal(const std::string& pattern) {
  const std::string text = error_of<ValueError>([&] { expand(pattern); });
  CHECK(text.substr(0, 7) == "mixer: ");
  return text;
}

std::vector<std::int64_t> shifts(const LayerConfig& layer) { return layer.get<HsmConfig>().shifts; }

TEST_CASE("mixer pattern: attention and its defaults") {
  CHECK(expand("attention") == std::vector<LayerConfig>(3, AttentionConfig{8, 8}));
  PatternDefaults defaults = kDefaults;
  defaults.kv_heads = 2;
  CHECK(expand("attention", defaults)[0] == LayerConfig(AttentionConfig{8, 2}));
  CHECK(expand("attention(heads=4)")[0] == LayerConfig(AttentionConfig{4, 4}));
  CHECK(expand("attention(heads=4)", defaults)[0] == LayerConfig(AttentionConfig{4, 2}));
  CHECK(expand(" attention ( heads = 4 , kv_heads = 1 ) ")[2] == LayerConfig(AttentionConfig{4, 1}));
}

TEST_CASE("mixer pattern: windows, biases of qkv, and layers without a last product") {
  CHECK(expand("attention(window=64)")[0] == LayerConfig(AttentionConfig{8, 8, 64}));
  CHECK(expand("attention(qkv_bias=true)")[0] == LayerConfig(AttentionConfig{8, 8, 0, true}));
  CHECK(expand("attention(qkv_bias=false)")[0] == LayerConfig(AttentionConfig{8, 8}));  // as the model's
  PatternDefaults biased = kDefaults;
  biased.bias = true;
  CHECK(expand("attention(qkv_bias=false)", biased)[0] == LayerConfig(AttentionConfig{8, 8, 0, false}));
  CHECK(expand("attention(qkv_bias=true)", biased)[0] == LayerConfig(AttentionConfig{8, 8}));
  const auto mixed = [](const std::string& pattern) { return expand(pattern)[0].get<MixedHeadsConfig>(); };
  const MixedHeadsConfig windows = mixed("recurformer(fraction=0.25,window_groups=0|3,window=9,qkv_bias=true,o=false)");
  CHECK(windows.recurrent_groups == std::vector<std::int64_t>{6, 7});
  CHECK(windows.window_groups == std::vector<std::int64_t>{0, 3});
  CHECK(windows.window == 9);
  CHECK(windows.qkv_bias == true);
  CHECK_FALSE(windows.o);
  const MixedHeadsConfig counted = mixed("mixed(softmax=1,windowed=2,mamba=1,shift=1,window=5)");
  CHECK(counted.heads == 5);
  CHECK(counted.window_groups == std::vector<std::int64_t>{1, 2});
  CHECK(counted.recurrent_groups == std::vector<std::int64_t>{3});
  CHECK(counted.shift_groups == std::vector<std::int64_t>{4});
  CHECK(counted.window == 5);
  CHECK(counted.o);
  CHECK_FALSE(mixed("mamba(heads=1,o=false)").o);
  CHECK(
      has(pattern_refusal("attention(window=0)"), "attention window must be an integer from 1 to 16777216; got \"0\""));
  CHECK(pattern_refusal("attention(qkv_bias=1)") ==
        "mixer: attention qkv_bias must be true or false; got \"1\"; correct the pattern");
  CHECK(has(pattern_refusal("mamba(o=no)"), "mamba o must be true or false; got \"no\""));
  CHECK(has(pattern_refusal("recurformer(window_groups=8,window=3)"), "from 0 to 7; got \"8\""));
  CHECK(has(pattern_refusal("mixed(softmax=2,windowed=1,kv_heads=1)"),
            "got 2 softmax, 1 windowed, 0 mamba and 0 shift heads and 1 kv_heads"));
}

TEST_CASE("mixer pattern: repeated over the layers; only HSM layers count for the shifts") {
  PatternDefaults defaults = kDefaults;
  defaults.layers = 8;
  const auto layers = expand("hsm:scalar,hsm:scalar,attention", defaults);
  REQUIRE(layers.size() == 8);
  CHECK((layers[2].get_if<AttentionConfig>() != nullptr));
  CHECK((layers[5].get_if<AttentionConfig>() != nullptr));
  CHECK(shifts(layers[0]) == std::vector<std::int64_t>{1});
  CHECK(shifts(layers[1]) == std::vector<std::int64_t>{2});
  CHECK(shifts(layers[3]) == std::vector<std::int64_t>{4});
  CHECK(shifts(layers[4]) == std::vector<std::int64_t>{8});
  CHECK(shifts(layers[6]) == std::vector<std::int64_t>{16});
  CHECK(shifts(layers[7]) == std::vector<std::int64_t>{32});
  CHECK(expand("attention,hsm:scalar").size() == 3);
  CHECK(expand("attention,attention,attention,hsm:scalar").size() == 3);
}

TEST_CASE("mixer pattern: the schedule starts again after ceil(log2 context) layers") {
  CHECK(default_shift(0, 0, 1) == 1);
  CHECK(default_shift(5, 0, 1) == 1);
  CHECK(default_shift(1, 0, 2) == 1);
  CHECK(default_shift(1, 0, 3) == 2);
  CHECK(default_shift(2, 0, 4) == 1);
  CHECK(default_shift(2, 0, 5) == 4);
  CHECK(default_shift(5, 0, 64) == 32);
  CHECK(default_shift(6, 0, 64) == 1);
  CHECK(default_shift(6, 0, 65) == 64);
  CHECK(default_shift(3, 4, 64) == 2);
  PatternDefaults defaults = kDefaults;
  defaults.context = 8;
  const auto layers = expand("hsm:vector(heads=4)", defaults);
  CHECK(shifts(layers[0]) == std::vector<std::int64_t>{1, 2, 4, 1});
  CHECK(shifts(layers[1]) == std::vector<std::int64_t>{2, 4, 1, 2});
}

TEST_CASE("mixer pattern: hsm options") {
  CHECK(expand("hsm:vector(heads=4,proj=vo,boundary=self,shifts=1|2|4|8)")[1] ==
        LayerConfig(HsmConfig{HsmVariant::vector, 4, {1, 2, 4, 8}, HsmProjection::vo, Boundary::self}));
  CHECK(expand("hsm:scalar(shifts=3)")[2] == LayerConfig(HsmConfig{HsmVariant::scalar, 1, {3}}));
  CHECK(expand("hsm:scalar( shifts = 3 | 100 )")[0] == LayerConfig(HsmConfig{HsmVariant::scalar, 2, {3, 100}}));
}

TEST_CASE("mixer pattern: all variants; fusion has as many hidden units as a head has channels") {
  for (const std::string& variant : enum_names<HsmVariant>()) {
    const auto layers = expand("hsm:" + variant + "(heads=2)");
    const HsmConfig& layer = layers[0].get<HsmConfig>();
    CHECK(to_string(layer.variant) == variant);
    CHECK(layer.options.size() == hsm_variant(layer.variant).options.size());
  }
  PatternDefaults defaults = kDefaults;
  defaults.d_model = 48;
  const auto hidden = [&](const std::string& pattern) {
    return expand(pattern, defaults)[1].get<HsmConfig>().option("hidden");
  };
  CHECK(hidden("hsm:fusion") == 48);
  CHECK(hidden("hsm:fusion(heads=4)") == 12);
  CHECK(hidden("hsm:fusion(heads=4,hidden=100)") == 100);
  CHECK(hidden("hsm:fusion(heads=64)") == 1);  // that 64 heads do not divide 48 is validate()'s business
}

TEST_CASE("mixer pattern: schedules") {
  PatternDefaults defaults = kDefaults;
  defaults.layers = 5;
  const auto all = [&](const std::string& pattern) {
    std::vector<std::vector<std::int64_t>> rows;
    for (const LayerConfig& layer : expand(pattern, defaults)) {
      rows.push_back((layer.get_if<HsmConfig>() != nullptr) ? shifts(layer) : std::vector<std::int64_t>{});
    }
    return rows;
  };
  using Rows = std::vector<std::vector<std::int64_t>>;
  CHECK(all("hsm:scalar(schedule=doubling)") == Rows{{1}, {2}, {4}, {8}, {16}});
  CHECK(all("hsm:scalar(schedule=doubling)") == all("hsm:scalar"));
  CHECK(all("hsm:scalar(schedule=reversed)") == Rows{{16}, {8}, {4}, {2}, {1}});
  CHECK(all("hsm:vector(schedule=reversed,heads=2)") == Rows{{16, 32}, {8, 16}, {4, 8}, {2, 4}, {1, 2}});
  CHECK(all("hsm:matrix(schedule=per_head,heads=3)") == Rows(5, {1, 2, 4}));
  CHECK(all("hsm:scalar(schedule=3|9|27)") == Rows{{3}, {9}, {27}, {3}, {9}});
  CHECK(all("hsm:scalar(schedule=3|9|27,heads=2)") == Rows{{3, 9}, {9, 27}, {27, 3}, {3, 9}, {9, 27}});
  CHECK(all("hsm:scalar(schedule=7)") == Rows(5, {7}));
  // Only HSM layers count, and each item has its own schedule.
  CHECK(all("hsm:scalar(schedule=reversed),attention") == Rows{{4}, {}, {2}, {}, {1}});
  CHECK(all("hsm:scalar,hsm:scalar(schedule=reversed)") == Rows{{1}, {8}, {4}, {2}, {16}});
  defaults.context = 8;
  CHECK(all("hsm:scalar(schedule=reversed)") == Rows{{2}, {1}, {4}, {2}, {1}});
  CHECK(all("hsm:scalar(schedule=per_head,heads=4)") == Rows(5, {1, 2, 4, 1}));
  defaults.context = 1;
  for (const char* schedule : {"doubling", "reversed", "per_head"}) {
    CHECK(all(std::string("hsm:scalar(heads=2,schedule=") + schedule + ")") == Rows(5, {1, 1}));
  }
}

TEST_CASE("mixer pattern: wrong schedules") {
  CHECK(pattern_refusal("hsm:scalar(schedule=doublin)") ==
        "mixer: hsm:scalar schedule must be one of doubling, reversed, per_head, or a list of shifts like 1|2|4; got "
        "\"doublin\"; did you mean \"doubling\"? choose one of them");
  CHECK(has(pattern_refusal("hsm:scalar(schedule=)"), "got \"\"; choose one of them"));
  CHECK(has(pattern_refusal("hsm:scalar(schedule=1|0)"),
            "each of the shifts (like shifts=1|2|4|8) must be an integer from 1"));
  CHECK(has(pattern_refusal("hsm:scalar(schedule=1|x)"), "got \"x\""));
  CHECK(has(pattern_refusal("hsm:scalar(shifts=1|2,schedule=1|2)"),
            "hsm:scalar takes shifts (of each head, in every layer) or a schedule; got both in"));
  CHECK(has(pattern_refusal("hsm:matrix(hidden=3)"),
            "hsm:matrix has the options heads, proj, boundary, shifts, schedule; got"));
  CHECK(has(pattern_refusal("hsm:fusion(hidden=0)"),
            "hsm:fusion hidden must be an integer from 1 to 1048576; got \"0\""));
}

TEST_CASE("mixer pattern: recurformer, mamba and mixed heads") {
  const PatternDefaults wide{.layers = 2, .heads = 4, .context = 64, .d_model = 128};
  MixedHeadsConfig want{.heads = 4, .kv_heads = 4, .recurrent_groups = {2, 3}, .dt_rank = 2};
  CHECK(expand("recurformer", wide)[1] == LayerConfig(want));
  CHECK(expand("recurformer(groups=2|3)", wide)[0] == LayerConfig(want));
  want.recurrent_groups = {0, 1, 2, 3};
  CHECK(expand("mamba", wide)[0] == LayerConfig(want));
  CHECK(expand("recurformer(fraction=1)", wide)[0] == LayerConfig(want));
  want.recurrent_groups = {};
  CHECK(expand("recurformer(fraction=0)", wide)[0] == LayerConfig(want));
  want.recurrent_groups = {1};
  want.kv_heads = 2;
  want.expand = 1;
  want.d_state = 8;
  want.d_conv = 3;
  want.dt_rank = 5;
  CHECK(expand("recurformer(kv_heads=2,fraction=0.3,expand=1,d_state=8,d_conv=3,dt_rank=5)", wide)[0] ==
        LayerConfig(want));
  const MixedHeadsConfig mixed{
      .heads = 6, .kv_heads = 6, .recurrent_groups = {2, 3}, .dt_rank = 2, .shift_groups = {4, 5}, .shifts = {1, 2}};
  CHECK(expand("mixed(softmax=2,mamba=2,shift=2)", wide)[0] == LayerConfig(mixed));
  const MixedHeadsConfig shifted{.heads = 4, .kv_heads = 2, .dt_rank = 2, .shift_groups = {1}, .shifts = {3, 9}};
  CHECK(expand("mixed(softmax=2,shift=2,kv_heads=2,shifts=3|9)", wide)[0] == LayerConfig(shifted));
}

TEST_CASE("mixer pattern: recurformer and mixed heads that do not fit") {
  CHECK(pattern_refusal("recurformer(groups=8)") ==
        "mixer: each of the groups (like groups=0|2) must be an integer from 0 to 7; got \"8\"; correct the pattern");
  CHECK(has(pattern_refusal("recurformer(groups=)"), "got \"\""));
  CHECK(has(pattern_refusal("recurformer(fraction=0.5,groups=1)"), "or a fraction of them; got both"));
  for (const std::string value : {"1.1", "-0.1", "half", "nan", ""}) {
    CHECK(has(pattern_refusal("recurformer(fraction=" + value + ")"),
              "recurformer fraction must be a number from 0 to 1; got \"" + value + "\""));
  }
  CHECK(has(pattern_refusal("mamba(fraction=1)"), "mamba has the options heads, kv_heads, d_state"));
  CHECK(has(pattern_refusal("mamba(expand=65)"), "mamba expand must be an integer from 1 to 64; got \"65\""));
  CHECK(has(pattern_refusal("mixed"), "mixed needs heads of a kind"));
  CHECK(has(pattern_refusal("mixed(softmax=0)"), "mixed softmax must be an integer from 1"));
  CHECK(has(pattern_refusal("mixed(softmax=2,shift=2,shifts=1)"), "one shift per shift head; got 1 shift and 2 heads"));
  CHECK(has(pattern_refusal("mixed(softmax=3,mamba=1,kv_heads=2)"), "mixed needs whole key/value groups of each kind"));
  CHECK(has(pattern_refusal("mixed(softmax=3,kv_heads=2)"), "got 3 softmax, 0 mamba and 0 shift heads and 2 kv_heads"));
}

TEST_CASE("mixer pattern: unknown names and options") {
  const std::string text = pattern_refusal("atention");
  CHECK(text.starts_with("mixer: one of " + join(pattern_names())));
  for (const std::string name : {"attention", "recurformer", "mamba", "mixed", "hsm:scalar", "hsm:fusion"}) {
    CHECK(has(text, name));
  }
  CHECK(text.ends_with(" is required; got \"atention\"; did you mean \"attention\"? choose one of them"));
  CHECK(has(pattern_refusal("hsm:skalar"), "did you mean \"hsm:scalar\"?"));
  CHECK(has(pattern_refusal("hsm"), " is required; got \"hsm\""));
  CHECK(has(pattern_refusal("lstm"), "got \"lstm\""));
  CHECK(has(pattern_refusal("attention(head=4)"),
            "attention has the options heads, kv_heads, window, qkv_bias; got \"head\"; did you mean \"heads\"?"));
  CHECK(has(pattern_refusal("attention(shifts=1)"), "attention has the options"));
  CHECK(has(pattern_refusal("hsm:scalar(kv_heads=1)"),
            "hsm:scalar has the options heads, proj, boundary, shifts, schedule"));
}

TEST_CASE("mixer pattern: wrong values") {
  for (const std::string value : {"0", "-1", "x", "", "4.5", "4x", "5000", "99999999999999999999"}) {
    CAPTURE(value);
    CHECK(has(pattern_refusal("attention(heads=" + value + ")"),
              "attention heads must be an integer from 1 to 4096; got \"" + value + "\""));
  }
  CHECK(has(pattern_refusal("hsm:scalar(shifts=1|0)"),
            "each of the shifts (like shifts=1|2|4|8) must be an integer from 1"));
  CHECK(has(pattern_refusal("hsm:scalar(shifts=1||2)"), "got \"\""));
  CHECK(has(pattern_refusal("hsm:scalar(heads=4,shifts=1|2)"), "one shift per head; got 2 shifts and 4 heads"));
  CHECK(has(pattern_refusal("hsm:scalar(proj=q)"), "hsm:scalar proj must be one of none, v, o, vo; got \"q\""));
  CHECK(has(pattern_refusal("hsm:scalar(boundary=sefl)"), "did you mean \"self\"?"));
}

TEST_CASE("mixer pattern: malformed") {
  CHECK(has(pattern_refusal(""), "an empty item"));
  CHECK(has(pattern_refusal("attention,"), "an empty item"));
  CHECK(has(pattern_refusal(",attention"), "an empty item"));
  CHECK(has(pattern_refusal("attention(heads=4"), "an unclosed parenthesis in \"attention(heads=4\""));
  CHECK(has(pattern_refusal("attention)"), "a closing parenthesis without an opening one"));
  CHECK(has(pattern_refusal("attention((heads=4))"), "a parenthesis within parentheses"));
  CHECK(has(pattern_refusal("attention(heads=4)x"), "text after a closing parenthesis"));
  CHECK(has(pattern_refusal("attention()"), "the option \"\" without \"=\""));
  CHECK(has(pattern_refusal("attention(heads)"), "the option \"heads\" without \"=\""));
  CHECK(has(pattern_refusal("attention(heads=4,heads=4)"), "the option \"heads\" twice"));
  CHECK(has(pattern_refusal("attention(heads=4)(heads=4)"), "must be an integer"));
}

TEST_CASE("mixer pattern: defaults outside their range") {
  const auto bad = [](PatternDefaults defaults) {
    return error_of<ValueError>([&] { expand("hsm:scalar", defaults); });
  };
  CHECK(has(bad({.layers = 0}), "layers must be from 1 to 1024; got 0"));
  CHECK(has(bad({.layers = INT64_MAX}), "layers must be from 1 to 1024"));
  CHECK(has(bad({.heads = 0}), "heads must be from 1 to 4096; got 0"));
  CHECK(has(bad({.kv_heads = -1}), "kv_heads must be from 0 to 4096; got -1"));
  CHECK(has(bad({.context = 0}), "context must be from 1 to 16777216; got 0"));
  CHECK(has(bad({.d_model = 0}), "d_model must be from 1 to 65536; got 0"));
}

}  // namespace
}  // namespace mixgrad
