// Checkpoints of llama2.c: against run.c's own loops, there and back, what is refused; stories260K where it is given.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/rng.h"
#include "nn/config/kinds/attention.h"
#include "nn/exchange/export.h"
#include "nn/exchange/import.h"
#include "nn/exchange/llama2c/llama2c_file.h"
#include "nn/model/generator.h"
#include "nn/tokenizers/tokenizer_files.h"
#include "nn/training/checkpoint.h"
#include "tests/support/outside_data.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;
using test::TempFolder;

// The sizes and weights as run.c has them: names of run.c.
struct RunC {
  int dim = 8, hidden = 12, layers = 2, heads = 2, kv_heads = 1, vocab = 11, seq = 7;
  bool shared = true;
  std::vector<float> emb, rms_att, wq, wk, wv, wo, rms_ffn, w1, w2, w3, rms_final, freq_real, freq_imag, wcls;

  explicit RunC(bool shared_head, int key_value_heads = 1) : kv_heads(key_value_heads), shared(shared_head) {
    Rng rng(5);
    const auto draw = [&](int count, double scale, double middle = 0) {
      std::vector<float> values;
      for (int i = 0; i < count; ++i) values.push_back(static_cast<float>(middle + scale * (rng.uniform() - 0.5)));
      return values;
    };
    const int kv = dim / heads * kv_heads;
    emb = draw(vocab * dim, 2);
    rms_att = draw(layers * dim, 0.6, 1);
    wq = draw(layers * dim * dim, 2);
    wk = draw(layers * kv * dim, 2);
    wv = draw(layers * kv * dim, 2);
    wo = draw(layers * dim * dim, 2);
    rms_ffn = draw(layers * dim, 0.6, 1);
    w1 = draw(layers * hidden * dim, 2);
    w2 = draw(layers * dim * hidden, 2);
    w3 = draw(layers * hidden * dim, 2);
    rms_final = draw(dim, 0.6, 1);
    const int pairs = dim / heads / 2;
    for (int t = 0; t < seq; ++t) {
      for (int i = 0; i < pairs; ++i) {
        const double angle = t * std::pow(1e4, -static_cast<double>(i) / pairs);
        freq_real.push_back(static_cast<float>(std::cos(angle)));
        freq_imag.push_back(static_cast<float>(std::sin(angle)));
      }
    }
    if (!shared) wcls = draw(vocab * dim, 2);
  }

  std::string file() const {
    std::string content;
    for (const int number : {dim, hidden, layers, heads, kv_heads, shared ? vocab : -vocab, seq}) {
      content.append(reinterpret_cast<const char*>(&number), sizeof number);
    }
    for (const auto* part :
         {&emb, &rms_att, &wq, &wk, &wv, &wo, &rms_ffn, &w1, &w2, &w3, &rms_final, &freq_real, &freq_imag, &wcls}) {
      content.append(reinterpret_cast<const char*>(part->data()), part->size() * sizeof(float));
    }
    return content;
  }

  // forward() of run.c for each token in turn, in f64; the logits [T,V].
  std::vector<double> logits(const std::vector<int>& tokens) const;
};

using Row = std::vector<double>;

Row product(const float* w, const Row& x, int rows) {
  Row y(static_cast<std::size_t>(rows), 0.0);
  for (std::size_t r = 0; r < y.size(); ++r) {
    for (std::size_t c = 0; c < x.size(); ++c) y[r] += static_cast<double>(w[r * x.size() + c]) * x[c];
  }
  return y;
}

Row rms(const Row& x, const float* weight) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + 1e-5);
  Row y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = static_cast<double>(weight[i]) * x[i] * scale;
  return y;
}

// Neighbouring pairs of channels of each head turn.
void rotate(Row& x, int position, int head_size) {
  for (std::size_t i = 0; i < x.size(); i += 2) {
    const double in_head = static_cast<double>(i % static_cast<std::size_t>(head_size));
    const double angle = position * std::pow(1e4, -in_head / head_size);
    const double a = x[i], b = x[i + 1];
    x[i] = a * std::cos(angle) - b * std::sin(angle);
    x[i + 1] = a * std::sin(angle) + b * std::cos(angle);
  }
}

std::vector<double> RunC::logits(const std::vector<int>& tokens) const {
  const int head_size = dim / heads, kv = head_size * kv_heads;
  std::vector<std::vector<Row>> keys(static_cast<std::size_t>(layers)), values(static_cast<std::size_t>(layers));
  std::vector<double> all;
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const float* row = emb.data() + tokens[t] * dim;
    Row x(row, row + dim);
    for (int l = 0; l < layers; ++l) {
      const auto layer = static_cast<std::size_t>(l);
      const Row u = rms(x, rms_att.data() + l * dim);
      Row q = product(wq.data() + l * dim * dim, u, dim);
      keys[layer].push_back(product(wk.data() + l * kv * dim, u, kv));
      values[layer].push_back(product(wv.data() + l * kv * dim, u, kv));
      rotate(q, static_cast<int>(t), head_size);
      rotate(keys[layer].back(), static_cast<int>(t), head_size);
      Row out(static_cast<std::size_t>(dim), 0.0);
      for (int h = 0; h < heads; ++h) {
        const int from = h / (heads / kv_heads) * head_size;
        Row scores;
        double sum = 0;
        for (std::size_t j = 0; j <= t; ++j) {
          double score = 0;
          for (int c = 0; c < head_size; ++c) {
            score +=
                q[static_cast<std::size_t>(h * head_size + c)] * keys[layer][j][static_cast<std::size_t>(from + c)];
          }
          scores.push_back(std::exp(score / std::sqrt(static_cast<double>(head_size))));
          sum += scores.back();
        }
        for (std::size_t j = 0; j <= t; ++j) {
          for (int c = 0; c < head_size; ++c) {
            out[static_cast<std::size_t>(h * head_size + c)] +=
                scores[j] / sum * values[layer][j][static_cast<std::size_t>(from + c)];
          }
        }
      }
      const Row mixed = product(wo.data() + l * dim * dim, out, dim);
      for (std::size_t i = 0; i < x.size(); ++i) x[i] += mixed[i];
      const Row v = rms(x, rms_ffn.data() + l * dim);
      Row gate = product(w1.data() + l * hidden * dim, v, hidden);
      const Row up = product(w3.data() + l * hidden * dim, v, hidden);
      for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
      const Row down = product(w2.data() + l * dim * hidden, gate, dim);
      for (std::size_t i = 0; i < x.size(); ++i) x[i] += down[i];
    }
    const Row logit = product(shared ? emb.data() : wcls.data(), rms(x, rms_final.data()), vocab);
    all.insert(all.end(), logit.begin(), logit.end());
  }
  return all;
}

TEST_CASE("llama2.c: the imported model computes what run.c computes, and is written back as it was") {
  for (const auto& [shared, kv_heads] : {std::pair{true, 1}, std::pair{false, 2}}) {
    const RunC model(shared, kv_heads);
    const TempFolder folder;
    const ImportReport report =
        import_model({.source = folder.put("model.bin", model.file()), .out = folder / "ours", .tokenizer = {}});
    CHECK(report.format == "llama2c");
    CHECK(report.config.tie_embeddings == shared);
    CHECK(report.config.context == 7);
    CHECK(report.config.layers.at(1).get<AttentionConfig>().kv_heads == kv_heads);
    CHECK(report.tokenizer == "none: token ids");
    const Checkpoint checkpoint = load_checkpoint(folder / "ours", {DType::f64, kCpu});
    CHECK(report.parameters == checkpoint.model->parameters().count());
    const std::vector<int> ids{3, 1, 10, 0, 7, 7, 2};
    const std::vector<std::int32_t> tokens(ids.begin(), ids.end());
    const Tensor logits = checkpoint.model->logits(Tensor::from_i32(tokens, {1, 7}));
    const std::vector<double> expected = model.logits(ids);
    double largest = 0, difference = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      largest = std::max(largest, std::abs(expected[i]));
      difference = std::max(difference, std::abs(expected[i] - logits.at(static_cast<std::int64_t>(i))));
    }
    CHECK(difference < 1e-12 * largest);
    export_model({.checkpoint = folder / "ours", .format = "llama2c", .out = folder / "back"});
    CHECK(TempFolder::get(folder / "back" / "model.bin") == model.file());
    CHECK_FALSE(std::filesystem::exists(folder / "back" / "tokenizer.bin"));
  }
}

TEST_CASE("llama2.c: what is no checkpoint of version 0") {
  const TempFolder folder;
  const std::string good = RunC(true).file();
  const auto refusal = [&](const std::string& content) {
    const auto source = folder.put("model.bin", content);
    const std::string text =
        error_of<FormatError>([&] { import_model({.source = source, .out = folder / "out", .tokenizer = {}}); });
    CHECK(folder.file_count() == 1);
    return text;
  };
  CHECK(has(refusal(good.substr(0, good.size() - 1)), "of these sizes must have " + std::to_string(good.size()) +
                                                          " bytes; it has " + std::to_string(good.size() - 1)));
  CHECK(has(refusal(good + "x"), "take a whole copy of version 0"));
  CHECK(
      has(refusal("24ka" + good), "must be of version 0; this one is of a later version; write it again as version 0"));
  const auto with = [&](std::size_t number, std::int32_t value) {
    std::string content = good;
    std::memcpy(content.data() + 4 * number, &value, sizeof value);
    return content;
  };
  CHECK(has(refusal(with(0, 1 << 20)), "dim of a llama2.c checkpoint must be from 1 to 65536; found 1048576"));
  CHECK(has(refusal(with(5, INT32_MIN)), "vocab_size of a llama2.c checkpoint must be from 1 to 16777216"));
  CHECK(has(refusal(with(0, 6)), "of a llama2.c checkpoint"));  // three channels a head: no pairs
  CHECK(has(refusal(with(3, 3)), "this file begins like none"));
  CHECK(has(refusal(good.substr(0, 20)), "this file begins like none"));
  std::string nan = good;
  const float bad = std::nanf("");
  std::memcpy(nan.data() + 28 + 4 * 5, &bad, sizeof bad);
  CHECK(has(refusal(nan), "every weight must be finite; element 5 of \"token_embedding_table\" is nan"));
}

TEST_CASE("llama2.c: what run.c could not compute") {
  ModelConfig config = Llama2cFile::parse(MappedFile::of(RunC(true).file(), "memory")).config();
  CHECK(llama2c_objection(config).empty());
  const auto objection = [&](const auto& change) {
    ModelConfig changed = config;
    change(changed);
    return llama2c_objection(changed);
  };
  CHECK(objection([](ModelConfig& c) { c.norm = Norm::layernorm; }) == "norm must be rmsnorm; it is layernorm");
  CHECK(objection([](ModelConfig& c) { c.norm_eps = 1e-6; }) == "norm_eps must be 1e-05; it is 1e-06");
  CHECK(objection([](ModelConfig& c) { c.rope_theta = 5e5; }) == "rope_theta must be 10000; it is 500000");
  CHECK(objection([](ModelConfig& c) { c.positions = Positions::none; }) == "positions must be rope; they are none");
  CHECK(objection([](ModelConfig& c) { c.mlp = Mlp::gelu; }) == "mlp must be swiglu; it is gelu");
  CHECK(objection([](ModelConfig& c) { c.bias = true; }) == "bias must be false; it is true");
  CHECK(objection([](ModelConfig& c) { c.shortcut = ShortcutConfig{.sources = {0}}; }) ==
        "there must be no shortcut; the model has one");
  CHECK(objection([](ModelConfig& c) { c.layers[1] = AttentionConfig{.heads = 4, .kv_heads = 4}; }) ==
        "layers[1] must have the heads of layers[0]; it has others");
}

// stories260K in double precision: 1.3021 nats a token on the first 100 stories of the validation file, each with its
// own start token and cut at 512 tokens.
double loss_of_stories(const Checkpoint& checkpoint, const std::string& text, std::int64_t& targets) {
  constexpr std::string_view kEnd = "<|endoftext|>";
  double sum = 0;
  targets = 0;
  std::size_t at = 0;
  for (int story = 0; story < 100; ++story) {
    const std::size_t end = text.find(kEnd, at);
    std::string_view content = std::string_view(text).substr(at, end - at);
    at = end + kEnd.size();
    while (content.starts_with('\n')) content.remove_prefix(1);
    while (content.ends_with('\n')) content.remove_suffix(1);
    std::vector<std::int32_t> ids = checkpoint.tokenizer->encode(content);
    ids.insert(ids.begin(), *checkpoint.tokenizer->special_tokens().start);
    ids.resize(std::min<std::size_t>(ids.size(), 512));
    const auto count = static_cast<std::int64_t>(ids.size()) - 1;
    const std::span<const std::int32_t> all(ids);
    sum += checkpoint.model
               ->loss(Tensor::from_i32(all.first(ids.size() - 1), {1, count}),
                      Tensor::from_i32(all.last(ids.size() - 1), {1, count}))
               .item() *
           static_cast<double>(count);
    targets += count;
  }
  return sum / static_cast<double>(targets);
}

TEST_CASE("llama2.c: stories260K gives its reference text and loss") {
  const auto weights = test::outside_data("weights/stories260K.bin");
  const auto tokenizer = test::outside_data("tokenizers/tok512.bin");
  const auto greedy = test::outside_data("weights/stories260K_greedy200.txt");
  const auto stories = test::outside_data("text/tinystories_valid.txt");
  if (!weights || !tokenizer || !greedy || !stories) return;
  const TempFolder folder;
  import_model({.source = *weights, .out = folder / "ours", .tokenizer = *tokenizer});
  const Checkpoint checkpoint = load_checkpoint(folder / "ours", {DType::f32, kCpu});
  CHECK(checkpoint.model->parameters().count() == 260'032);
  Generator generator(*checkpoint.model, checkpoint.tokenizer->vocab_size(), {.temperature = 0}, 1);
  const std::vector<std::int32_t> start{*checkpoint.tokenizer->special_tokens().start};
  generator.prompt(start);
  const auto decoder = checkpoint.tokenizer->new_decoder();
  std::string text;
  for (int i = 0; i < 200; ++i) text += decoder->next(generator.next());
  CHECK(text + decoder->finish() + "\n" == TempFolder::get(*greedy));
  std::int64_t targets = 0;
  const double loss = loss_of_stories(checkpoint, TempFolder::get(*stories), targets);
  CHECK(targets == 35'992);
  CHECK(std::abs(loss - 1.3021) < 5e-5);
  export_model({.checkpoint = folder / "ours", .format = "llama2c", .out = folder / "back"});
  CHECK(TempFolder::get(folder / "back" / "tokenizer.bin") == TempFolder::get(*tokenizer));
  const std::string before = TempFolder::get(*weights), after = TempFolder::get(folder / "back" / "model.bin");
  REQUIRE(before.size() == after.size());
  std::size_t different = 0;
  for (std::size_t i = 0; i < before.size(); ++i) different += before[i] == after[i] ? 0U : 1U;
  MESSAGE("bytes that differ, all within the tables of cosines and sines: " << different);
  const std::size_t tables = 512 * 4 * 2 * sizeof(float);
  CHECK(before.substr(0, before.size() - tables) == after.substr(0, after.size() - tables));
}

}  // namespace
}  // namespace mixgrad
