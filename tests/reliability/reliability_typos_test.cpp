// Misspelt options and keys: refused, with the right word.
#include <doctest/doctest.h>

#include <random>

#include "core/error.h"
#include "nn/config/kinds/attention.h"
#include "nn/config/kinds/hsm.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

// One letter deleted, doubled, replaced, or two swapped.
std::string misspelt(std::string word, std::mt19937& random) {
  const std::size_t at = random() % word.size();
  const char letter = static_cast<char>('a' + random() % 26);
  switch (random() % 4) {
    case 0: return word.erase(at, 1);
    case 1: return word.insert(at, 1, letter);
    case 2: word[at] = letter; return word;
    default:
      if (at + 1 < word.size()) std::swap(word[at], word[at + 1]);
      return word;
  }
}

TEST_CASE("reliability: machine-made typos are refused, with the right suggestion") {
  const TempFolder folder;
  std::vector<std::string> options;
  for (const std::string& line : lines_of(mixgrad("train --print-config").out)) {
    options.push_back(line.substr(0, line.find(' ')));
  }
  REQUIRE(options.size() > 30);
  const Json config = json_of(to_json([] {
    ModelConfig model;
    model.vocab_size = 10;
    model.context = model.d_model = model.d_ff = 4;
    model.layers = {AttentionConfig{}, HsmConfig{.shifts = {1}}};
    return model;
  }()));
  std::vector<std::string> keys;
  for (const auto& item : config.items()) keys.push_back(item.key());
  std::mt19937 random(9);
  const int typos = times(30, 240);
  int made = 0;
  int refused = 0;
  int right = 0;
  for (int attempts = 0; made < typos && attempts < 10 * typos; ++attempts) {
    const bool json = attempts % 3 == 2;
    const auto& words = json ? keys : options;
    const std::string& word = words[random() % words.size()];
    if (word.size() < 4) continue;  // one letter more or less is another word: nothing is suggested
    const std::string typo = misspelt(word, random);
    const bool valid = std::find(words.begin(), words.end(), typo) != words.end();
    if (valid || typo.empty() || typo[0] == '-' || typo == "h" || typo == "help" || typo == "config") continue;
    ++made;
    INFO(word << " as " << typo);
    std::string text;
    bool out = false;
    if (json) {
      Json bad = config;
      bad[typo] = bad[word];
      bad.erase(word);
      text = error_of<FormatError>([&] { parse_model_config(bad.dump(), "config.json"); });
      out = !text.empty();
    } else {
      Finished run;
      if (attempts % 3 == 0) {
        run = mixgrad("train --" + typo + "=1");
      } else {
        run = mixgrad("train", {"--config", folder.put("run.toml", typo + " = 1\n").string()});
      }
      text = run.err;
      out = run.code == 2;
    }
    CHECK(out);
    refused += out ? 1 : 0;
    if (has(text, "did you mean \"" + word + "\"?") || has(text, "did you mean --" + word + "?")) ++right;
  }
  CHECK(refused == made);
  CHECK(right >= made * 9 / 10);
  figure("machine-made typos in options, config files and config.json",
         std::to_string(made) + " typos, " + std::to_string(refused) + " refused, " + std::to_string(right) +
             " with the right word suggested");
}

}  // namespace
}  // namespace mixgrad::test
