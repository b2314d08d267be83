// Options from presets, config files and the command line, and misspelt ones.
#include "tests/support/cli.h"

#include <doctest/doctest.h>

#include <random>

namespace mixgrad::test {
namespace {

// What --print-config prints of one option, without its name.
std::string value_of(const Finished& run, const std::string& option) {
  for (const std::string& line : lines_of(run.out)) {
    if (line.starts_with(option + " = ")) return line.substr(option.size() + 3);
  }
  return "(not printed): " + run.err;
}

Finished with_config(const std::string& verb, const std::string& content, const std::string& more = {}) {
  const TempFolder folder;
  return mixgrad(verb + " --print-config " + more, {"--config", folder.put("run.toml", content).string()});
}

TEST_CASE("cli config: the file wins over the preset, the command line over both") {
  const TempFolder folder;
  const std::string file = folder.put("run.toml", "layers = 5\nlr = 0.5\nsteps = 7\n").string();
  const Finished run = mixgrad("train --print-config --preset baby --steps 8", {"--config", file});
  CHECK(trouble(run) == "");
  CHECK(value_of(run, "context") == "256");  // baby
  CHECK(value_of(run, "layers") == "5");     // baby has 6
  CHECK(value_of(run, "lr") == "0.5");
  CHECK(value_of(run, "steps") == "8");
  CHECK(value_of(run, "mlp") == "\"gelu\"");  // nobody: the default

  // Wherever they stand, and also when the file names the preset.
  const std::string other = folder.put("other.toml", "d-ff = 100\npreset = \"char-hsm\"\n").string();
  const Finished named = mixgrad("train --layers 2 --print-config", {"--config", other});
  CHECK(value_of(named, "mixer") == "\"hsm:scalar(heads=4)\"");
  CHECK(value_of(named, "d-ff") == "100");
  CHECK(value_of(named, "layers") == "2");
  CHECK(value_of(mixgrad("train --print-config --preset char", {"--config", other}), "mixer") == "\"attention\"");
}

TEST_CASE("cli config: every preset parses, and what is printed reads back as the same") {
  const TempFolder folder;
  for (const std::string preset : {"char", "char-hsm", "char-hybrid", "char-mamba", "char-recurformer", "char-mixed",
                                   "char-shortcut", "shortcut10", "baby"}) {
    INFO(preset);
    const Finished printed = mixgrad("train --print-config --min-lr 1e-05 --preset " + preset);
    CHECK(trouble(printed) == "");
    CHECK(value_of(printed, "min-lr") == "1e-05");
    if (preset == "char" || preset == "baby") continue;
    const std::string file = folder.put("printed.toml", printed.out).string();
    CHECK(mixgrad("train --print-config", {"--config", file}).out == printed.out);
  }
  // Texts with all that could be mistaken in them.
  const std::string prompt = "a \"b\" \\ # 'c' = [d], e\n\tf\x01é";
  const Finished printed =
      mixgrad("generate --print-config --temperature 0.1 --seed 18446744073709551615", {"--prompt", prompt});
  CHECK(value_of(printed, "prompt") == R"("a \"b\" \\ # 'c' = [d], e\n\u0009f\u0001é")");
  const std::string file = folder.put("prompt.toml", printed.out).string();
  CHECK(mixgrad("generate --print-config", {"--config", file}).out == printed.out);
}

TEST_CASE("cli config: a file runs") {
  const TempFolder folder;
  folder.put("text.txt", small_text());
  const std::string file =
      folder
          .put("run.toml", "# a small run\n[train]\ndata = '" + (folder / "text.txt").string() + "'\nout = \"" +
                               (folder / "run").string() +
                               "\"\nlayers = 1\nd-model = 16\nheads = 2\ncontext = 8\nbatch = 2\nsteps = 2\n"
                               "threads = 1\njson = true\nlog-every = 1\n")
          .string();
  const Finished run = mixgrad("train", {"--config", file});
  CHECK(run.code == 0);
  CHECK(json_lines(run.out).size() == 2);
}

TEST_CASE("cli config: what stands in a file") {
  const Finished run =
      with_config("train",
                  "  layers=3 # three\r\n\t\n# d-model = 7\n[train]  # ours\nbatch = 1_000\n"
                  "lr = +2.5e-1\nmin-lr = 0\nmixer = 'hsm:vector(heads=4), attention'\nbias = true\n"
                  "tie=false\njson = true\ndata = \"a#b\\u00e9\\U0001F600\\t\"\nseed = 12345678901234567890\n");
  CHECK(trouble(run) == "");
  CHECK(value_of(run, "layers") == "3");
  CHECK(value_of(run, "d-model") == "128");
  CHECK(value_of(run, "batch") == "1000");
  CHECK(value_of(run, "lr") == "0.25");
  CHECK(value_of(run, "min-lr") == "0");
  CHECK(value_of(run, "mixer") == "\"hsm:vector(heads=4), attention\"");
  CHECK(value_of(run, "bias") == "true");
  CHECK(value_of(run, "tie") == "false");
  CHECK(value_of(run, "json") == "true");
  CHECK(value_of(run, "data") == "\"a#bé\U0001F600\\u0009\"");
  CHECK(value_of(run, "seed") == "12345678901234567890");
  CHECK(value_of(with_config("train", "json = false\n"), "json") == "false");
  CHECK(value_of(with_config("train", "json = true\n", "--json=false"), "json") == "false");
}

// Comparing each key with all before it took 38 s for this file; run_program waits ten.
TEST_CASE("cli config: a file full of keys is refused at once") {
  const std::string letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  std::string content;
  for (std::size_t i = 0; i < 170'000; ++i) {
    content += {letters[i % 64], letters[i / 64 % 64], letters[i / 4096], '=', '1', '\n'};
  }
  const Finished run = with_config("train", content);
  CHECK(not_refused(run, 2) == "");
  CHECK(has(run.err, "line 1: unknown key \"aaa\""));
}

TEST_CASE("cli config: what must not stand in a file") {
  const auto refused = [](const std::string& content, const std::string& text) {
    INFO(content);
    const Finished run = with_config("train", content);
    CHECK(not_refused(run, 2) == "");
    INFO(run.err);
    CHECK(has(run.err, text));
    CHECK(run.out == "");
  };
  refused("lr = 0.1\nlayres = 3\n", "line 2: unknown key \"layres\"; did you mean \"layers\"?");
  refused("lr = 0.1\nsteps = 3\nlr = 0.1\n", "line 3: every key must occur once; \"lr\" stands in line 1");
  refused("batch = \"12\"\n", "line 1: batch must be a number; got \"12\", a text");
  refused("data = 3\n", "data must be a text in quotes; got \"3\"");
  refused("bias = 1\n", "bias must be true or false; got \"1\"");
  refused("batch = 1.5\n", "line 1: batch must be an integer from 1 to 1048576; got \"1.5\"");
  refused("lr = nan\n", "line 1: lr must be a number from 0 to 1000; got \"nan\"");
  refused("mlp = 'gelo'\n",
          "mlp must be one of gelu, gelu_erf, relu, swiglu, none; got \"gelo\"; did you mean \"gelu\"?");
  refused("[eval]\nbatch = 3\n", "line 1: only the section [train] is read here; got \"[eval]\"");
  refused("mixer = hsm:scalar, attention\n", "must be a number, true, false or a text in quotes");
  refused("lr =\n", "must be a number, true, false or a text in quotes; got \"\"");
  refused("data = \"open\n", "must end in its line");
  refused("data = \"\\x\"\n", "a backslash in quotes must be followed by one of");
  refused("data = \"\\ud800\"\n", "\\u needs the 4 hexadecimal digits of a character");
  refused("lr = 0.1 0.2\n", "nothing but a comment may follow the value of \"lr\"");
  refused(std::string("\xff\xfe\0\x01", 4), "a line `key = value` is required");

  CHECK(not_refused(mixgrad("train --print-config --config /nonexistent/run.toml"), 4) == "");
  CHECK(not_refused(mixgrad("train --print-config --config /"), 4) == "");
}

// A slip of the keyboard, of each kind in turn: a letter left out, doubled, replaced, or two exchanged.
std::string misspelt(const std::string& name, int kind, std::mt19937& random) {
  std::string word = name;
  const std::size_t at = random() % (word.size() - 1);
  if (kind == 0) word.erase(at, 1);
  if (kind == 1) word.insert(at, 1, word[at]);
  if (kind == 2) word[at] = word[at] == 'q' ? 'w' : 'q';
  if (kind == 3) std::swap(word[at], word[at + 1]);
  return word;
}

TEST_CASE("cli config: 60 misspelt options and keys are refused, and the right one is named in at least 54") {
  std::vector<std::string> names;
  for (const std::string& line : lines_of(mixgrad("train --print-config").out)) {
    names.push_back(line.substr(0, line.find(" = ")));
  }
  REQUIRE(names.size() > 30);
  std::mt19937 random(1);  // NOLINT(bugprone-random-generator-seed): the same slips in every run
  int named = 0;
  int done = 0;
  std::string unnamed;
  for (int i = 0; done < 60; ++i) {
    const std::string& name = names[static_cast<std::size_t>(i) % names.size()];
    if (name.size() < 4) continue;  // of words so short only exchanged letters are recognised (core/text/suggest.h)
    const std::string word = misspelt(name, i % 4, random);
    if (std::find(names.begin(), names.end(), word) != names.end()) continue;
    const bool in_file = ++done % 2 == 0;
    const Finished run = in_file ? with_config("train", word + " = 1\n") : mixgrad("train --" + word + " 1");
    INFO(word);
    CHECK(not_refused(run, 2) == "");
    CHECK(has(run.err, "\"" + std::string(in_file ? "" : "--") + word + "\""));
    if (has(run.err, in_file ? "did you mean \"" + name + "\"?" : "did you mean --" + name + "?")) {
      ++named;
    } else {
      unnamed.append(word).append(" for ").append(name).append(", ");
    }
  }
  INFO(unnamed);
  CHECK(named >= 54);
}

}  // namespace
}  // namespace mixgrad::test
