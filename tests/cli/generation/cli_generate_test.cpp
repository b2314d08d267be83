// mixgrad generate and mixgrad eval.
#include "tests/support/cli.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "core/text/utf8.h"
#include "nn/data/token_data.h"
#include "nn/training/checkpoint.h"

namespace mixgrad::test {
namespace {

constexpr std::int64_t kTinyContext = 8;  // of kTiny

// Models with the positions and mixers under test, each trained once.
const TempFolder& models() {
  static const TempFolder folder;
  return folder;
}
std::string model(const std::string& name) {
  const std::string path = (models() / name).string();
  if (std::filesystem::exists(path)) return path;
  const std::string hybrid = " --layers 2 --mixer hsm:vector(heads=2),attention";
  const std::string options = name == "rope"      ? ""
                              : name == "learned" ? "--positions learned"
                              : name == "none"    ? "--positions none" + hybrid
                              : name == "hsm"     ? "--positions none --mixer hsm:scalar(heads=4,shifts=1|2|4|11)"
                                                  : "--tokenizer byte";
  const Finished run = train_tiny(models(), name, "--steps 40 " + options);
  INFO(run.err);
  REQUIRE(run.code == 0);
  return path;
}

Finished generate(const std::string& name, const std::string& options, const std::string& prompt = "the cat") {
  return mixgrad("generate --threads 1 " + options, {"--checkpoint", model(name), "--prompt", prompt});
}

// The logits that the token after `ids` must be drawn from: of the last window, as the documentation of generation has
// it.
std::vector<double> next_logits(const Decoder& decoder, const std::vector<std::int32_t>& ids, std::size_t begin) {
  const auto length = static_cast<std::int64_t>(ids.size() - begin);
  const Tensor tokens = Tensor::from_i32(std::span(ids).subspan(begin), {1, length});
  const bool learned = decoder.config().positions == Positions::learned;
  const Tensor logits = decoder.logits(tokens, learned ? 0 : kTinyContext);
  std::vector<double> last;
  for (std::int64_t v = 0; v < logits.dim(2); ++v) last.push_back(logits.at((length - 1) * logits.dim(2) + v));
  return last;
}

// Empty when every token of `text` after the prompt is the likeliest (to rounding) after those before it.
std::string not_greedy(const std::string& name, const std::string& prompt, const std::string& text) {
  const Checkpoint checkpoint = load_checkpoint(model(name), DType::f32);
  const bool learned = checkpoint.model->config().positions == Positions::learned;
  const std::vector<std::int32_t> ids = checkpoint.tokenizer->encode(text);
  const std::size_t first = checkpoint.tokenizer->encode(prompt).size();
  std::vector<std::int32_t> seen(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(first));
  std::size_t begin = 0;
  for (std::size_t i = first; i < ids.size(); ++i) {
    const std::vector<double> logits = next_logits(*checkpoint.model, seen, begin);
    const double best = *std::max_element(logits.begin(), logits.end());
    const double chosen = logits[static_cast<std::size_t>(ids[i])];
    if (chosen < best - 1e-4)
      return "token " + std::to_string(i) + " has logit " + std::to_string(chosen) + " of " + std::to_string(best);
    seen.push_back(ids[i]);
    // With learned positions a full state is rebuilt from the last half of the context.
    if (learned && seen.size() - begin > static_cast<std::size_t>(kTinyContext)) begin = seen.size() - kTinyContext / 2;
  }
  return {};
}

TEST_CASE("cli generate: greedy text is the prompt and the likeliest tokens, within the context and beyond it") {
  for (const std::string name : {"rope", "none", "hsm", "learned"}) {
    INFO(name);
    const Finished within = generate(name, "--tokens 5 --temperature 0", "the");
    CHECK(trouble(within) == "");
    CHECK(within.out.size() == 3 + 5 + 1);
    CHECK(within.out.starts_with("the"));
    CHECK(within.out.back() == '\n');
    CHECK(not_greedy(name, "the", within.out.substr(0, within.out.size() - 1)) == "");

    const Finished beyond = generate(name, "--tokens 30 --temperature 0", "the cat");
    CHECK(beyond.code == 0);
    CHECK(beyond.out.size() == 7 + 30 + 1);
    CHECK(not_greedy(name, "the cat", beyond.out.substr(0, beyond.out.size() - 1)) == "");
    CHECK(without_speed(beyond.err) ==
          (name == "learned"
               ? "mixgrad: beyond the 8 tokens that this model's learned positions cover, generation restarts "
                 "from the last 4\n"
               : ""));
  }
}

TEST_CASE("cli generate: a prompt longer than the context") {
  const std::string prompt = "the dog ran to the house while";
  for (const std::string name : {"rope", "learned"}) {
    INFO(name);
    const Finished run = generate(name, "--tokens 6 --temperature 0", prompt);
    CHECK(run.code == 0);
    CHECK(run.out.starts_with(prompt));
    CHECK(run.out.size() == prompt.size() + 6 + 1);
    CHECK(lines_of(without_speed(run.err)).size() == (name == "learned" ? 1 : 0));
    if (name == "rope") CHECK(not_greedy(name, prompt, run.out.substr(0, run.out.size() - 1)) == "");
  }
}

TEST_CASE("cli generate: the seed decides the text; one candidate is greedy") {
  const Finished first = generate("rope", "--tokens 40 --temperature 1.5 --seed 7");
  CHECK(trouble(first) == "");
  CHECK(generate("rope", "--tokens 40 --temperature 1.5 --seed 7").out == first.out);
  CHECK(generate("rope", "--tokens 40 --temperature 1.5 --seed 8").out != first.out);
  const std::string greedy = generate("rope", "--tokens 40 --temperature 0").out;
  CHECK(generate("rope", "--tokens 40 --top-k 1 --temperature 1.5").out == greedy);
  CHECK(generate("rope", "--tokens 40 --top-p 1e-9 --temperature 1.5").out == greedy);
  CHECK(generate("rope", "--tokens 0").out == "the cat\n");
}

TEST_CASE("cli generate: bytes of any kind continue a byte model, characters of several bytes a char model") {
  const Finished bytes = generate("byte", "--tokens 12 --temperature 3", "Zoë ☕");
  CHECK(trouble(bytes) == "");
  CHECK(bytes.out.size() == std::string("Zoë ☕").size() + 12 + 1);

  const TempFolder folder;
  std::string text;
  for (int i = 0; i < 40; ++i) text += "ä☕ö\U0001F600\n";
  folder.put("text.txt", text);
  REQUIRE(train_tiny(folder, "run", "--steps 1").code == 0);
  const Finished run =
      mixgrad("generate --tokens 20 --threads 1", {"--checkpoint", (folder / "run").string(), "--prompt", "ö"});
  CHECK(trouble(run) == "");
  int characters = 0;
  for (std::size_t offset = 0; offset < run.out.size(); ++characters) REQUIRE(next_code_point(run.out, offset) >= 0);
  CHECK(characters == 1 + 20 + 1);
}

// The most memory that the program had resident while it generated so many tokens, in bytes.
std::int64_t peak_of(const std::string& tokens) {
  Arguments arguments{MIXGRAD_BINARY, "generate", "--checkpoint", model("none"), "--tokens", tokens, "--threads", "1"};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    const int nowhere = ::open("/dev/null", O_WRONLY);
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  int status = -1;
  rusage usage{};
  ::wait4(child, &status, 0, &usage);
  CHECK(status == 0);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

TEST_CASE("cli generate: a text that is shown as it comes takes no memory, however long it is") {
  if (kSanitized) return;                                                 // what was freed still counts there
  CHECK(peak_of("150000") < peak_of("1000") + (std::int64_t{1} << 20U));  // 3 MiB when each token was kept
}

TEST_CASE("cli generate: what cannot be is refused") {
  const auto refused = [](const std::string& options, const std::string& prompt, const std::string& text) {
    INFO(options << " " << prompt);
    const Finished run = generate("rope", options, prompt);
    CHECK(not_refused(run, 2) == "");
    INFO(run.err);
    CHECK(has(run.err, text));
    CHECK(run.out == "");
  };
  refused("", "the Zebra", "'Z' (U+005A) at line 1, column 5 (byte 4)");
  refused("", "", "--prompt needs at least one character");
  refused("--temperature -1", "the", "--temperature must be a number of at least 0; got \"-1\"");
  refused("--temperature nan", "the", "got \"nan\"");
  refused("--top-p 0", "the", "--top-p must be a number above 0 and at most 1; got \"0\"");
  refused("--top-k 1099511627776", "the", "--top-k must be an integer from 0 to 1000000000");
  CHECK(not_refused(mixgrad("generate --prompt a"), 2) == "");
  CHECK(not_refused(run_program({"generate", "--checkpoint", model("rope"), "--prompt", "the"}, "/dev/full"), 4) == "");
}

TEST_CASE("cli eval: each part of the text, every token once") {
  const std::string text = (models() / "text.txt").string();
  const Arguments more{"--checkpoint", model("rope"), "--data", text};
  std::int64_t targets = 0;
  Json whole;
  for (const std::string split : {"train", "valid", "all"}) {
    INFO(split);
    const Finished run = mixgrad("eval --json --threads 1 --split " + split, more);
    CHECK(trouble(run) == "");
    const std::vector<Json> values = json_lines(run.out);
    REQUIRE(values.size() == 1);
    whole = values[0];
    CHECK(keys_of(whole) == "loss,perplexity,bits_per_byte,targets,split,data,low,high");
    CHECK(whole["low"].get<double>() < whole["loss"].get<double>());
    CHECK(whole["high"].get<double>() > whole["loss"].get<double>());
    CHECK(whole["split"] == split);
    CHECK(whole["data"] == text);
    const double loss = whole["loss"].get<double>();
    CHECK(std::abs(std::log(whole["perplexity"].get<double>()) - loss) < 1e-9);
    CHECK(std::abs(whole["bits_per_byte"].get<double>() * std::log(2.0) - loss) < 1e-9);  // a byte is a token here
    if (split != "all") targets += whole["targets"].get<std::int64_t>();
  }
  const auto size = static_cast<std::int64_t>(small_text().size());
  CHECK(whole["targets"] == size - 1);
  CHECK(targets == size - 1);

  const Finished table = mixgrad("eval --threads 1 --batch 5", more);
  CHECK(trouble(table) == "");
  CHECK(lines_of(table.out).size() == 4);
  CHECK(has(table.out, "nats a token"));
  CHECK(has(table.out, std::to_string(size - size * 9 / 10) + "  (valid of " + text + ")"));
}

TEST_CASE("cli eval: what cannot be is refused") {
  const auto refused = [](const std::string& content, const std::string& options, int code, const std::string& text) {
    const TempFolder folder;
    const Finished run = mixgrad("eval --threads 1 " + options,
                                 {"--checkpoint", model("rope"), "--data", folder.put("text", content).string()});
    CHECK(not_refused(run, code) == "");
    INFO(run.err);
    CHECK(has(run.err, text));
    CHECK(run.out == "");
  };
  refused("the cat\nsat Zoo\n", "", 3, "found 'Z' (U+005A) at line 2, column 5 (byte 12)");
  refused("the\xff", "", 3, "an invalid sequence begins at byte 3");
  refused("", "", 3, "it is empty");
  refused("t", "", 3, "at least two tokens are required");
  refused("the cat", "--split test", 2, "--split must be one of valid, train, all; got \"test\"");
  refused("th", "--split train", 2, "at least one token to predict");
  CHECK(not_refused(mixgrad("eval"), 2) == "");
}

}  // namespace
}  // namespace mixgrad::test
