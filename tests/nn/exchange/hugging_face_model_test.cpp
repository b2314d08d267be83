// Folders of Hugging Face: the logits that transformers computed for those in fixtures/
// (tests/reference/exchange_test.py writes them), import and export as each other's opposite, and everything that is
// refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "nn/config/kinds/attention.h"
#include "nn/exchange/export.h"
#include "nn/exchange/hugging_face/hugging_face_model.h"
#include "nn/exchange/hugging_face/weight_files.h"
#include "nn/exchange/import.h"
#include "nn/tokenizers/tokenizer_types.h"
#include "nn/training/checkpoint.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::error_of;
using test::has;
using test::TempFolder;

fs::path fixture(const std::string& kind) { return fs::path(MIXGRAD_SOURCE_DIR) / "tests/nn/exchange/fixtures" / kind; }

double worst(const Tensor& computed, const Tensor& expected) {
  double largest = 0, difference = 0;
  for (std::int64_t i = 0; i < expected.numel(); ++i) {
    largest = std::max(largest, std::abs(expected.at(i)));
    difference = std::max(difference, std::abs(expected.at(i) - computed.at(i)));
  }
  return difference / largest;
}

std::map<std::string, Tensor> tensors_of(const fs::path& folder) {
  const WeightFiles weights = WeightFiles::open(folder);
  std::map<std::string, Tensor> tensors;
  for (const std::string& name : weights.names()) tensors.emplace(name, weights.read(name));
  return tensors;
}

TEST_CASE("hugging face: every kind gives the logits of transformers, and its tensors back") {
  for (const std::string& kind : hugging_face_model_types()) {
    INFO(kind);
    REQUIRE(fs::exists(fixture(kind)));
    const TempFolder folder;
    const ImportReport report = import_model({.source = fixture(kind), .out = folder / "ours", .tokenizer = {}});
    CHECK(report.format == "hf");
    CHECK(report.kind.starts_with(kind + " ("));
    const SafetensorsFile expected = SafetensorsFile::open(fixture(kind) / "expected.safetensors");
    const Tensor tokens = expected.read("tokens"), logits = expected.read("logits");
    // transformers computes norms and angles in f32 even in a model of f64.
    for (const auto& [dtype, tolerance] : {std::pair{DType::f64, 1e-6}, std::pair{DType::f32, 1e-5}}) {
      const Checkpoint checkpoint = load_checkpoint(folder / "ours", {dtype, kCpu});
      CHECK(worst(checkpoint.model->logits(tokens), logits) < tolerance);
    }
    export_model({.checkpoint = folder / "ours", .format = "hf", .out = folder / "back"});
    const auto before = tensors_of(fixture(kind)), after = tensors_of(folder / "back");
    REQUIRE(before.size() == after.size());
    for (const auto& entry : before) {
      INFO(entry.first);
      CHECK(after.at(entry.first).equal_bits(entry.second));
    }
    const ImportReport again = import_model({.source = folder / "back", .out = folder / "again", .tokenizer = {}});
    CHECK(again.config == report.config);
    CHECK(again.kind == report.kind);
  }
}

// A folder that can be damaged: the llama fixture as one file, its config as JSON.
struct Damaged {
  TempFolder folder;
  json config;
  std::map<std::string, Tensor> tensors;

  explicit Damaged(const std::string& kind) : tensors(tensors_of(fixture(kind))) {
    config = json::parse(TempFolder::get(fixture(kind) / "config.json"));
  }
  fs::path write() const {
    fs::create_directories(folder / "in");
    folder.put("in/config.json", config.dump());
    const std::vector<std::pair<std::string, Tensor>> all(tensors.begin(), tensors.end());
    write_safetensors(folder / "in" / "model.safetensors", {}, all);
    return folder / "in";
  }
  ImportReport import(const ImportOptions& more = {}) const {
    return import_model(
        {.source = write(), .out = folder / "out", .tokenizer = more.tokenizer, .context = more.context});
  }
  std::string refusal(const ImportOptions& more = {}) const {
    const std::string text = error_of<Error>([&] { import(more); });
    CHECK_FALSE(fs::exists(folder / "out"));
    CHECK(folder.file_count() == 1);  // nothing was left aside
    return text;
  }
};

std::string refused_with(const std::string& kind, const std::string& key, const json& value) {
  Damaged model(kind);
  model.config[key] = value;
  return model.refusal();
}

TEST_CASE("hugging face: what a model cannot express is refused by name and value") {
  CHECK(has(refused_with("llama", "model_type", "gpt_neox"), "model_type must be one of "));
  CHECK(has(refused_with("llama", "model_type", "gpt_neox"), "found \"gpt_neox\", which cannot be imported"));
  CHECK(has(refused_with("llama", "architectures", {"LlamaForSequenceClassification"}),
            "architectures must be [\"LlamaForCausalLM\"]; found [\"LlamaForSequenceClassification\"]"));
  CHECK(has(refused_with("llama", "rope_parameters", {{"rope_type", "llama3"}, {"rope_theta", 5e5}, {"factor", 8}}),
            "rope_parameters.factor must be absent; found 8, which a model of mixgrad cannot express"));
  CHECK(has(refused_with("llama", "rope_scaling", {{"type", "linear"}}),
            "rope_scaling.type must be \"default\"; found \"linear\""));
  CHECK(has(refused_with("llama", "partial_rotary_factor", 0.5), "partial_rotary_factor must be 1.0; found 0.5"));
  CHECK(has(refused_with("llama", "hidden_act", "gelu"), "hidden_act must be \"silu\"; found \"gelu\""));
  CHECK(has(refused_with("llama", "head_dim", 4), "head_dim must be hidden_size / num_attention_heads; found 4"));
  CHECK(has(refused_with("llama", "mlp_bias", true), "mlp_bias must be false; found true"));
  CHECK(has(refused_with("llama", "quantization_config", {{"bits", 4}}), "quantization_config must be absent"));
  CHECK(has(refused_with("gpt2", "activation_function", "silu"), "activation_function must be one of \"gelu_new\""));
  CHECK(has(refused_with("gpt2", "scale_attn_weights", false), "scale_attn_weights must be true; found false"));
  CHECK(has(refused_with("gpt2", "scale_attn_by_inverse_layer_idx", true), "must be false; found true"));
  CHECK(has(refused_with("gpt2", "add_cross_attention", true), "add_cross_attention must be false; found true"));
}

TEST_CASE("hugging face: windows, biases and Mamba's sizes are refused by name and value") {
  CHECK(has(refused_with("mistral", "attention_bias", true), "attention_bias must be false; found true"));
  CHECK(has(refused_with("mistral", "sliding_window", 0), "sliding_window must be an integer from 1 to"));
  CHECK(has(refused_with("qwen2", "use_mrope", true), "use_mrope must be false; found true"));
  CHECK(has(refused_with("qwen2", "layer_types", {"full_attention"}), "an array of num_hidden_layers names"));
  CHECK(has(refused_with("qwen2", "layer_types", {"full_attention", "chunked_attention"}),
            "layer_types[1] must be full_attention or sliding_attention; found \"chunked_attention\""));
  CHECK(has(refused_with("qwen2", "use_sliding_window", false),
            "layer_types[1] must be full_attention, since use_sliding_window is false; found \"sliding_attention\""));
  CHECK(has(refused_with("mamba", "use_bias", true), "use_bias must be false; found true"));
  CHECK(has(refused_with("mamba", "use_conv_bias", false), "use_conv_bias must be true; found false"));
  CHECK(has(refused_with("mamba", "hidden_act", "gelu"), "hidden_act must be \"silu\"; found \"gelu\""));
  CHECK(
      has(refused_with("mamba", "intermediate_size", 13), "intermediate_size must be expand * hidden_size; found 13"));
  CHECK(has(refused_with("mamba", "expand", 1.5), "expand must be an integer from 1 to 64; found 1.5"));
}

TEST_CASE("hugging face: windows from max_window_layers on; Mamba takes the context that it is given") {
  Damaged qwen("qwen2");
  qwen.config.erase("layer_types");
  const ImportReport report = qwen.import();
  CHECK(report.config.layers[0].get<AttentionConfig>().window == 0);
  CHECK(report.config.layers[1].get<AttentionConfig>().window == 2);
  Damaged mistral("mistral");
  mistral.config["sliding_window"] = nullptr;
  CHECK(mistral.import().config.layers[0].get<AttentionConfig>().window == 0);
  CHECK(Damaged("mamba").import().config.context == 2048);
  CHECK(Damaged("mamba").import({.context = 9000}).config.context == 9000);
}

TEST_CASE("hugging face: config.json is read strictly where it is used") {
  CHECK(
      has(refused_with("llama", "hidden_size", nullptr), "hidden_size is required, an integer from 1; it is missing"));
  CHECK(has(refused_with("llama", "hidden_size", 0), "hidden_size must be an integer from 1 to 65536; found 0"));
  CHECK(has(refused_with("llama", "hidden_size", "8"), "hidden_size must be an integer from 1 to 65536; found \"8\""));
  CHECK(has(refused_with("llama", "rms_norm_eps", -1), "rms_norm_eps must be a number above 0; found -1"));
  CHECK(has(refused_with("llama", "num_key_value_heads", 3), "(config.json of the kind llama)"));
  CHECK(has(refused_with("llama", "model_type", nullptr), "model_type, one of "));
  CHECK(has(refused_with("llama", "tie_word_embeddings", true), "must be \"model.embed_tokens.weight\" by tie_word"));
  Damaged text("llama");
  text.write();
  text.folder.put("in/config.json", "{\"model_type\": \"llama\", ");
  CHECK(has(error_of<FormatError>([&] { import_model({.source = text.folder / "in", .out = text.folder / "out"}); }),
            "valid JSON is required"));
}

TEST_CASE("hugging face: tensors must be those of config.json") {
  const std::string q = "model.layers.0.self_attn.q_proj.weight";
  {
    Damaged model("llama");
    model.tensors.erase(q);
    CHECK(has(model.refusal(), "tensor \"" + q + "\" [8,8] is required by config.json; it is missing"));
  }
  {
    Damaged model("llama");
    model.tensors[q] = Tensor::zeros({8, 4}, DType::f32);
    CHECK(has(model.refusal(), "tensor \"" + q + "\" must have the shape [8,8] by config.json; found [8,4]"));
  }
  {
    Damaged model("llama");
    model.tensors[q] = Tensor::zeros({8, 8}, DType::i32);
    CHECK(has(model.refusal(), "must be of type F64, F32, BF16 or F16; found \"I32\""));
  }
  {
    Damaged model("llama");
    model.tensors["model.layers.0.self_attn.q_norm.weight"] = Tensor::zeros({2}, DType::f32);
    CHECK(has(model.refusal(),
              "found \"model.layers.0.self_attn.q_norm.weight\" as well; such a model cannot be imported"));
  }
  {
    Damaged model("llama");
    const Tensor nan = model.tensors.at(q).clone();
    nan.set(9, std::nan(""));
    model.tensors[q] = nan;
    CHECK(has(model.refusal(), "every weight must be finite; element 9 of \"" + q + "\" is nan"));
  }
  {
    Damaged model("llama");
    model.config["num_hidden_layers"] = 3;
    CHECK(has(model.refusal(), "tensor \"model.layers.2.input_layernorm.weight\" [8] is required"));
  }
}

TEST_CASE("hugging face: names without prefix, a stored head and masks are read") {
  Damaged model("gpt2");
  std::map<std::string, Tensor> bare;
  for (const auto& [name, tensor] : model.tensors) bare.emplace(name.substr(std::strlen("transformer.")), tensor);
  bare.emplace("lm_head.weight", bare.at("wte.weight"));
  bare.emplace("h.0.attn.bias", Tensor::zeros({1, 1, 16, 16}, DType::f32));
  bare.emplace("h.0.attn.masked_bias", Tensor::zeros({1}, DType::f32));
  model.tensors = bare;
  CHECK(model.import().parameters > 0);
}

TEST_CASE("hugging face: shards and their index") {
  const TempFolder folder;
  fs::copy(fixture("llama"), folder / "in");
  const auto refusal = [&] {
    const std::string text =
        error_of<FormatError>([&] { import_model({.source = folder / "in", .out = folder / "out", .tokenizer = {}}); });
    CHECK(folder.file_count() == 1);
    return text;
  };
  const fs::path index = folder / "in/model.safetensors.index.json";
  const json good = json::parse(TempFolder::get(index));
  const auto with = [&](const std::string& tensor, const json& file) {
    json changed = good;
    changed["weight_map"][tensor] = file;
    folder.put("in/model.safetensors.index.json", changed.dump());
    return refusal();
  };
  CHECK(has(with("lm_head.weight", "model-00009-of-00002.safetensors"), "every file that it names must be there"));
  CHECK(has(with("model.absent", "model-00001-of-00002.safetensors"), "tensor \"model.absent\" must be in "));
  CHECK(
      has(with("lm_head.weight", "../in/model-00001-of-00002.safetensors"), "the name of a .safetensors file beside"));
  CHECK(has(with("lm_head.weight", "/etc/passwd"), "the name of a .safetensors file beside the index"));
  CHECK(has(with("lm_head.weight", 3), "must be a string; found 3"));
  folder.put("in/model.safetensors.index.json", "{\"metadata\": {}}");
  CHECK(has(refusal(), "the key weight_map is required"));
  folder.put("in/model.safetensors.index.json", good.dump());
  fs::remove(folder / "in/model-00002-of-00002.safetensors");
  CHECK(has(refusal(), "every file that it names must be there; \"model-00002-of-00002.safetensors\""));
}

// A safetensors file of one tensor, as its text.
std::string one_tensor(const std::string& dtype, const std::string& data) {
  const std::string header = "{\"w\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + std::to_string(data.size() / 2) +
                             "],\"data_offsets\":[0," + std::to_string(data.size()) + "]}}";
  std::string file(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), &length, sizeof length);
  return file + header + data;
}

TEST_CASE("safetensors: F16 is read as F32, exactly") {
  std::string data;
  std::vector<double> expected;
  const auto add = [&](std::uint16_t half, double value) {
    data.append(reinterpret_cast<const char*>(&half), sizeof half);
    expected.push_back(value);
  };
  add(0x0000, 0);
  add(0x0001, std::ldexp(1, -24));
  add(0x83ff, -1023 * std::ldexp(1, -24));
  add(0x0400, std::ldexp(1, -14));
  add(0x3c00, 1);
  add(0x3555, 1365 * std::ldexp(1, -12));
  add(0xc000, -2);
  add(0x7bff, 65504);
  add(0x7c00, std::numeric_limits<double>::infinity());
  const std::string content = one_tensor("F16", data);
  const SafetensorsFile file = SafetensorsFile::parse(MappedFile::of(content, "memory"), SafetensorsTypes::any);
  const Tensor tensor = file.read("w");
  CHECK(tensor.dtype() == DType::f32);
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(tensor.at(static_cast<std::int64_t>(i)) == expected[i]);
  CHECK(std::signbit(SafetensorsFile::parse(MappedFile::of(one_tensor("F16", std::string("\x00\x80", 2)), "memory"),
                                            SafetensorsTypes::any)
                         .read("w")
                         .at(0)));
  CHECK(has(error_of<FormatError>([&] { SafetensorsFile::parse(MappedFile::of(content, "memory")); }),
            "must be of type F64, F32, BF16 or I32; found \"F16\""));
  const std::string shorts = one_tensor("I16", data);
  const SafetensorsFile integers = SafetensorsFile::parse(MappedFile::of(shorts, "memory"), SafetensorsTypes::any);
  CHECK(has(error_of<FormatError>([&] { integers.read("w"); }),
            "tensor \"w\" must be of type F64, F32, BF16 or F16; found \"I16\""));
}

TEST_CASE("hugging face: the context may be shorter, the tokenizer must fit") {
  CHECK(Damaged("llama").import({.context = 5}).config.context == 5);
  CHECK(has(Damaged("llama").refusal({.context = 17}), "--context must be at most 16, for which the model was made"));
  CHECK(
      has(Damaged("gpt2").refusal({.context = 5}), "--context must be 16, for which the model has learned positions"));
  const TempFolder tokenizers;
  const auto put = [&](const std::string& name, const std::string& text) {
    return tokenizers.put(name, make_tokenizer("char", {.text = text, .source = "text"})->to_json());
  };
  CHECK(has(Damaged("llama").refusal({.tokenizer = put("large", "abcdefghijkl")}),
            "the tokenizer must have at most 11 tokens, the rows of the model's table; it has 12"));
  const ImportReport small = Damaged("llama").import({.tokenizer = put("small", "abc")});
  CHECK(has(small.tokenizer, "3 tokens, from "));
  CHECK(has(small.decisions.back(), "the table has 11 rows, the tokenizer 3 tokens"));
  Damaged own("llama");
  own.write();
  own.folder.put("in/tokenizer.json", "{\"version\":\"1.0\",\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}");
  CHECK(has(own.refusal(), "--tokenizer none imports without"));
  CHECK(own.import({.tokenizer = "none"}).tokenizer == "none: token ids");
}

TEST_CASE("hugging face: what was taken where config.json says nothing, and keys that are not known") {
  Damaged model("llama");
  model.config.erase("rms_norm_eps");
  model.config["mystery"] = {{"a", 1}};
  const std::vector<std::string> decisions = model.import().decisions;
  const auto says = [&](const std::string& text) {
    return std::any_of(decisions.begin(), decisions.end(), [&](const std::string& one) { return has(one, text); });
  };
  CHECK(says("rms_norm_eps is not given; it is 1e-06, as transformers takes it"));
  CHECK(says("keys of config.json that are not known here had no effect: \"mystery\" ({\"a\":1})"));
}

TEST_CASE("import: sources of other forms are refused, a pickle with the lines that convert it") {
  const TempFolder folder;
  const auto refusal = [&](const fs::path& source) {
    const std::string text = error_of<Error>([&] { import_model({.source = source, .out = folder / "out"}); });
    CHECK_FALSE(fs::exists(folder / "out"));
    return text;
  };
  for (const auto& [name, content] :
       {std::pair{"model.pt", std::string("PK\x03\x04zip")}, std::pair{"old.bin", std::string("\x80\x02}q")}}) {
    const std::string text = refusal(folder.put(name, content));
    CHECK(has(text, "this is a pickle of PyTorch"));
    CHECK(has(text, "\"import torch, safetensors.torch\" and \"safetensors.torch.save_file(torch.load('"));
  }
  fs::create_directories(folder / "old");
  folder.put("old/config.json", "{}");
  folder.put("old/pytorch_model.bin", "PK\x03\x04");
  const std::string text = refusal(folder / "old");
  CHECK(has(text, "this is a pickle of PyTorch"));
  CHECK(has(text, "\"from transformers import AutoModelForCausalLM\" and \"AutoModelForCausalLM.from_pretrained('"));
  CHECK(has(refusal(folder.put("model.gguf", "GGUF....")), "this is a GGUF file"));
  CHECK(has(refusal(folder.put("model.safetensors", "12345678")), "give the folder that holds it"));
  CHECK(has(refusal(folder.put("any.txt", "hello")), "this file begins like none; check the path"));
  CHECK(has(refusal(folder / "absent"), "there is none; check the path"));
  fs::create_directories(folder / "empty");
  CHECK(has(refusal(folder / "empty"), "this folder has no config.json"));
  folder.put("empty/config.json", "{}");
  CHECK(has(refusal(folder / "empty"), "this folder has no model.safetensors"));
  import_model({.source = fixture("llama"), .out = folder / "ours", .tokenizer = {}});
  CHECK(has(refusal(folder / "ours"), "this one is of mixgrad; give the folder to --checkpoint"));
}

TEST_CASE("import and export: a folder that holds something is left as it is") {
  const TempFolder folder;
  fs::create_directories(folder / "empty");
  import_model({.source = fixture("llama"), .out = folder / "empty", .tokenizer = {}});
  CHECK(folder.file_count() == 1);
  fs::create_directories(folder / "full");
  folder.put("full/x", "x");
  const auto refused = [&](const auto& run) {
    CHECK(has(error_of<ValueError>(run), "must not exist, or be an empty folder; it holds something"));
    CHECK(TempFolder::get(folder / "full/x") == "x");
    CHECK(folder.file_count() == 2);
  };
  refused([&] { import_model({.source = fixture("llama"), .out = folder / "full"}); });
  refused([&] { export_model({.checkpoint = folder / "empty", .format = "hf", .out = folder / "full"}); });
  folder.put("file", "x");
  CHECK(has(error_of<ValueError>([&] { import_model({.source = fixture("llama"), .out = folder / "file"}); }),
            "it is no folder"));
}

}  // namespace
}  // namespace mixgrad
