// The engine against an independent float64 reference (tests/conformance), and the checker against spoilt files.
#include "nn/conformance/conformance.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "nn/files/safetensors.h"
#include "tests/support/close.h"
#include "tests/support/device.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad::test {
namespace {

// The models are so small that threads would mostly wait for each other.
std::vector<std::filesystem::path> cases() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(MIXGRAD_SOURCE_DIR "/tests/conformance")) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::filesystem::path case_named(const std::string& name) {
  return std::filesystem::path(MIXGRAD_SOURCE_DIR) / "tests" / "conformance" / (name + ".safetensors");
}

struct Tolerance {
  double logits, loss, grad, step_losses, after;
};

void check_case(const std::filesystem::path& path, DType precision, const Tolerance& tolerance) {
  INFO(path.filename().string() << " " << std::string(dtype_name(precision)));
  const ConformanceResult r = run_conformance(path, precision, test_device());
  CHECK(r.pass);
  CHECK(r.worst == kNothing);
  CHECK(r.name == path.stem().string());
  CHECK(r.precision == precision);
  // Nothing is left out: the parts are there, and the figures are compared here once more.
  REQUIRE((r.logits && r.decode && r.loss && r.grad && r.step_losses && r.after));
  CHECK(*r.logits <= tolerance.logits);
  CHECK(*r.decode <= tolerance.logits);
  CHECK(*r.loss <= tolerance.loss);
  CHECK(*r.grad <= tolerance.grad);
  CHECK(*r.step_losses <= tolerance.step_losses);
  CHECK(*r.after <= tolerance.after);
  const std::vector<std::string> tensors = SafetensorsFile::open(path).names();
  const bool has_probes =
      std::any_of(tensors.begin(), tensors.end(), [](const std::string& name) { return name.starts_with("probe."); });
  REQUIRE(r.probes.has_value() == has_probes);
  if (has_probes) CHECK(*r.probes <= tolerance.logits);
  // f32 is really f32.
  CHECK((*r.grad > 1e-12) == (precision == DType::f32));
}

TEST_CASE("conformance: every case agrees with the reference, in f64 and in f32") {
  const OneThread one_thread;
  const std::vector<std::filesystem::path> files = cases();
  for (const char* name : {"gpt",
                           "gpt_erf_nopos_nobias",
                           "gpt_mqa_untied_relu",
                           "gpt_rope_gqa_swiglu",
                           "hsm_fusion",
                           "hsm_gate_double",
                           "hsm_gate_single",
                           "hsm_hybrid",
                           "hsm_matrix",
                           "hsm_rms_swiglu_proj",
                           "hsm_scalar",
                           "hsm_scalar_heads",
                           "hsm_vector",
                           "recurformer",
                           "recurformer_all_wide",
                           "recurformer_gqa_rope",
                           "mixed_heads",
                           "shortcut",
                           "shortcut_depth",
                           "shortcut_depth_gqa_rope",
                           "shortcut_feature",
                           "shortcut_gqa_rope",
                           "everything",
                           "gpt_window_one",
                           "gpt_window_qkv_bias",
                           "mamba_alone",
                           "recurformer_window"}) {
    INFO(std::string(name));
    CHECK(std::find(files.begin(), files.end(), case_named(name)) != files.end());
  }
  for (const std::filesystem::path& file : files) {
    check_case(file, DType::f64, {1e-9, 1e-9, 1e-9, 1e-9, 1e-9});
    check_case(file, DType::f32, {2e-5, 1e-5, 1e-4, 1e-5, 3e-4});
  }
}

TEST_CASE("conformance: the same figures with one and with three threads") {
  const auto figures = [](int count) {
    const Threads used(count);
    const ConformanceResult r = run_conformance(case_named("gpt_rope_gqa_swiglu"), DType::f32);
    return std::vector{r.logits, r.decode, r.loss, r.grad, r.step_losses, r.after, r.probes};
  };
  CHECK((figures(1) == figures(3)));
}

// A copy of a case, to be spoilt.
struct Copy {
  Metadata metadata;
  std::vector<std::pair<std::string, Tensor>> tensors;

  explicit Copy(const std::string& name) {
    const SafetensorsFile file = SafetensorsFile::open(case_named(name));
    metadata = file.metadata();
    for (const std::string& tensor : file.names()) tensors.emplace_back(tensor, file.read(tensor));
  }
  Tensor& at(const std::string& name) {
    for (auto& [key, tensor] : tensors) {
      if (key == name) return tensor;
    }
    FAIL("no tensor " << name);
    return tensors.front().second;
  }
  void remove(const std::function<bool(const std::string&)>& gone) {
    std::erase_if(tensors, [&](const auto& entry) { return gone(entry.first); });
  }
  // One element, off by 0.1 % of the largest.
  void nudge(const std::string& name) {
    const Tensor& tensor = at(name);
    tensor.set(0, tensor.at(0) + 1e-3 * largest_of(tensor));
  }
  ConformanceResult run(DType precision) const {
    const TempFolder folder;
    write_safetensors(folder / "spoilt.safetensors", metadata, tensors);
    return run_conformance(folder / "spoilt.safetensors", precision);
  }
  // What is wrong: the error's text, or the tensor that does not agree.
  std::string complaint(DType precision = DType::f64) const {
    try {
      const ConformanceResult r = run(precision);
      return r.pass ? "(passes)" : r.worst;
    } catch (const Error& error) {
      return error.what();
    }
  }
};

TEST_CASE("conformance: a copy that is not spoilt passes") {
  const OneThread one_thread;
  CHECK(Copy("gpt").complaint() == "(passes)");
  CHECK(Copy("gpt").complaint(DType::f32) == "(passes)");
  CHECK(Copy("hsm_vector").complaint(DType::f32) == "(passes)");
}

TEST_CASE("conformance: any value that is 0.1 % off fails and is named, in f64 and in f32") {
  const OneThread one_thread;
  const Copy good("gpt");
  for (std::size_t i = 0; i < good.tensors.size(); ++i) {
    const std::string name = good.tensors[i].first;
    if (name.starts_with("in.") || name.starts_with("param.")) continue;
    for (const DType precision : {DType::f64, DType::f32}) {
      INFO(name << " " << std::string(dtype_name(precision)));
      Copy copy("gpt");
      copy.nudge(name);
      const ConformanceResult r = copy.run(precision);
      CHECK_FALSE(r.pass);
      const bool decoding = name == "out.logits" && r.worst.starts_with("decode after ");
      CHECK((r.worst == name || decoding));
    }
  }
}

TEST_CASE("conformance: a parameter that is 0.1 % off fails") {
  const OneThread one_thread;
  for (const char* name : {"param.embed.weight", "param.layers.1.mixer.b", "param.layers.0.norm2.bias"}) {
    INFO(std::string(name));
    Copy copy("hsm_vector");
    copy.nudge(name);
    CHECK_FALSE(copy.run(DType::f32).pass);
  }
}

TEST_CASE("conformance: a reference that is not finite fails") {
  const OneThread one_thread;
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    for (const char* name : {"out.logits", "grad.norm.weight", "out.step_losses", "after.embed.weight"}) {
      INFO(std::string(name) << " " << bad);
      Copy copy("hsm_scalar");
      copy.at(name).set(1, bad);
      CHECK_FALSE(copy.run(DType::f64).pass);
    }
  }
}

TEST_CASE("conformance: a missing tensor is an error that names it") {
  const OneThread one_thread;
  for (const char* name : {"in.tokens", "in.targets", "param.norm.weight"}) {
    Copy copy("hsm_scalar");
    copy.remove([&](const std::string& tensor) { return tensor == name; });
    const std::string text = copy.complaint();
    INFO(text);
    CHECK(has(text, "spoilt.safetensors"));
    CHECK(has(text, std::string("\"") + name + "\" is required"));
  }
}

TEST_CASE("conformance: a part of which one tensor is missing is an error that names it") {
  const OneThread one_thread;
  for (const char* name : {"grad.norm.weight", "after.layers.1.mixer.a"}) {
    Copy copy("hsm_scalar");
    copy.remove([&](const std::string& tensor) { return tensor == name; });
    const std::string text = copy.complaint();
    INFO(text);
    CHECK(has(text, name));
  }
}

TEST_CASE("conformance: gradients without the loss they belong to are not passed over") {
  Copy copy("hsm_scalar");
  copy.remove([](const std::string& tensor) { return tensor == "out.loss"; });
  copy.nudge("grad.norm.weight");
  CHECK(copy.complaint() != "(passes)");
}

TEST_CASE("conformance: a file without anything to compare does not pass") {
  Copy copy("hsm_scalar");
  copy.remove([](const std::string& tensor) { return !tensor.starts_with("in.") && !tensor.starts_with("param."); });
  CHECK(copy.complaint() != "(passes)");
}

TEST_CASE("conformance: parts that a file lacks are empty, the others are compared") {
  Copy copy("gpt");
  copy.remove([](const std::string& tensor) {
    return tensor.starts_with("after.") || tensor.starts_with("probe.") || tensor == "out.logits";
  });
  const ConformanceResult r = copy.run(DType::f64);
  CHECK(r.pass);
  CHECK_FALSE((r.logits || r.decode || r.after || r.probes));
  CHECK((r.loss && r.grad && r.step_losses));
}

TEST_CASE("conformance: a tensor that the model does not have is an error that names it") {
  const OneThread one_thread;
  for (const char* name : {"param.layers.0.mixer.c", "grad.head.weight", "out.logit", "probe.recencie.0"}) {
    Copy copy("hsm_scalar");
    copy.tensors.emplace_back(name, Tensor::zeros({1}, DType::f64));
    const std::string text = copy.complaint();
    INFO(text);
    CHECK(has(text, name));
  }
}

TEST_CASE("conformance: a wrong shape is an error that names the tensor and both shapes") {
  const auto text = [](const std::string& name, const Shape& shape) {
    Copy copy("hsm_scalar");
    copy.at(name) = name.starts_with("in.") ? Tensor::zeros(shape, DType::i32) : Tensor::zeros(shape, DType::f64);
    return copy.complaint();
  };
  for (const char* name : {"param.norm.weight", "grad.norm.weight", "after.norm.weight"}) {
    const std::string found = text(name, {15});
    INFO(found);
    CHECK(has(found, name));
    CHECK(has(found, "[15]"));
    CHECK(has(found, "[16]"));
  }
  const std::string logits = text("out.logits", {2, 12, 16});
  INFO(logits);
  CHECK(has(logits, "out.logits must be [2,12,17], found [2,12,16]"));
  const std::string tokens = text("in.tokens", {4, 2, 11});
  INFO(tokens);
  CHECK(has(tokens, "in.tokens and in.targets must be i32 [K,B,T] of one shape, got [4,2,11] and [4,2,12]"));
  const std::string losses = text("out.step_losses", {3});
  INFO(losses);
  CHECK(has(losses, "out.step_losses"));
  CHECK(has(losses, "[3]"));
}

TEST_CASE("conformance: what is not a case is refused, and says why") {
  const auto with = [](const std::string& key, const std::string& value) {
    Copy copy("gpt");
    if (value.empty()) {
      copy.metadata.erase(key);
    } else {
      copy.metadata[key] = value;
    }
    return copy.complaint();
  };
  CHECK(has(with("format", ""), "metadata 'format' is required and missing; is this a conformance case?"));
  CHECK(has(with("format", "other-2"), "metadata 'format' must be mixgrad-conformance-1, got 'other-2'"));
  CHECK(has(with("config", ""), "metadata 'config' is required and missing"));
  CHECK(has(with("config", "{"), "(metadata config)"));
  CHECK(has(with("train", ""), "metadata 'train' is required and missing"));
  CHECK(has(with("train", "{\"lr\": 0.1}"), "(metadata train): the key beta1 is required; it is missing"));
  CHECK(has(with("train", "not json"), "(metadata train): valid JSON is required"));
  CHECK(has(with("recency_window", ""), "metadata 'recency_window' is required and missing"));
  CHECK(has(with("recency_window", "two"), "recency_window"));
  const auto refusal = [](const std::filesystem::path& path) {
    return error_text<FormatError>([&] { run_conformance(path, DType::f64); });
  };
  const TempFolder folder;
  CHECK(has(refusal(folder.put("empty", "")), "has at least 8 bytes"));
  CHECK(has(refusal(folder.put("text", "a text, not a file of tensors at all")), "the header must lie in the file"));
  const std::string whole = TempFolder::get(case_named("gpt"));
  CHECK(has(refusal(folder.put("cut", whole.substr(0, whole.size() - 100))), "truncated"));
  CHECK(has(error_text<IoError>([&] { run_conformance(folder / "absent", DType::f64); }), "absent"));
}

}  // namespace
}  // namespace mixgrad::test
