// docs/cli.md and apps/README.md against the program: the verbs, and the options of each verb, both ways.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

using Words = std::set<std::string>;

// What stands between backticks.
Arguments quoted_words(const std::string& text) {
  Arguments found;
  for (std::size_t at = text.find('`'); at != std::string::npos;) {
    const std::size_t end = text.find('`', at + 1);
    if (end == std::string::npos) break;
    found.push_back(text.substr(at + 1, end - at - 1));
    at = text.find('`', end + 1);
  }
  return found;
}

// The cells of a line `| a | b |`, empty for any other line.
Arguments cells_of(const std::string& line) {
  Arguments cells;
  if (!line.starts_with("| ")) return cells;
  std::string text = line.substr(1);
  for (std::size_t at = text.find(" |"); at != std::string::npos; at = text.find(" |")) {
    cells.push_back(text.substr(0, at));
    text = text.substr(at + 2);
  }
  return cells;
}

Arguments lines_of_file(const std::string& name) {
  const Arguments lines = lines_of(TempFolder::get(std::string(MIXGRAD_SOURCE_DIR) + "/" + name));
  REQUIRE(!lines.empty());
  return lines;
}

// "train --batch" or, for an option that belongs to some words of the argument, "bench train --batch".
Words options_of_program() {
  Words found;
  for (const std::string& verb : verb_names()) {
    std::string option;
    for (const std::string& line : lines_of(mixgrad(verb + " --help").out)) {
      if (line.starts_with("  --")) option = words(line)[0];
      if (option.empty()) continue;
      // The explanation stands in column 27 of this line or, after a long option, of the next.
      const std::string explanation = line.size() > 27 ? line.substr(27) : "";
      if (explanation.empty()) continue;
      if (explanation[0] == '[') {
        for (const std::string& word : words(explanation.substr(1, explanation.find(']') - 1))) {
          if (word != "and") found.insert(joined({verb, " ", word, " ", option}));
        }
      } else {
        found.insert(joined({verb, " ", option}));
      }
      option.clear();
    }
  }
  return found;
}

TEST_CASE("cli docs: docs/cli.md has exactly the options of each verb") {
  const Words program = options_of_program();
  CHECK(program.size() > 150);
  CHECK(program.count("train --resume") == 1);
  CHECK(program.count("bench decode --tokens") == 1);
  Words page;
  for (const std::string& line : lines_of_file("docs/cli.md")) {
    const Arguments cells = cells_of(line);
    if (cells.size() != 3 || !cells[0].starts_with(" `--")) continue;
    for (const std::string& option : quoted_words(cells[0])) {
      Arguments verbs = quoted_words(cells[1]);
      if (cells[1] == " all") verbs = verb_names();
      CHECK_MESSAGE(!verbs.empty(), line);
      for (const std::string& verb : verbs) {
        const std::string entry = verb + " " + words(option)[0];
        CHECK_MESSAGE(page.insert(entry).second, entry << " stands twice in docs/cli.md");
      }
    }
  }
  for (const std::string& entry : program) CHECK_MESSAGE(page.count(entry) == 1, entry << " is not in docs/cli.md");
  for (const std::string& entry : page) CHECK_MESSAGE(program.count(entry) == 1, entry << ": no such option");
}

TEST_CASE("cli docs: the tables of verbs in docs/cli.md and apps/README.md are the list of the program") {
  const Arguments names = verb_names();
  for (const std::string file : {"docs/cli.md", "apps/README.md"}) {
    INFO(file);
    Words verbs;
    bool table = false;
    for (const std::string& line : lines_of_file(file)) {
      if (line.starts_with("| verb |")) table = true;
      if (!line.starts_with("|")) table = false;
      const Arguments cells = table ? cells_of(line) : Arguments();
      if (cells.empty()) continue;
      for (const std::string& verb : quoted_words(cells[0])) verbs.insert(words(verb)[0]);
    }
    CHECK(verbs == Words(names.begin(), names.end()));
  }
}

TEST_CASE("cli docs: every choice of a verb's argument stands in the table of docs/cli.md") {
  const std::string page = TempFolder::get(std::string(MIXGRAD_SOURCE_DIR) + "/docs/cli.md");
  int choices = 0;
  for (const std::string& verb : verb_names()) {
    const std::string help = mixgrad(verb + " --help").out;
    const std::size_t at = help.find("Usage: mixgrad " + verb + " ");
    REQUIRE(at != std::string::npos);
    std::string words_of_argument = words(help.substr(at))[3];
    if (words_of_argument.find('|') == std::string::npos) continue;
    std::replace(words_of_argument.begin(), words_of_argument.end(), '|', ' ');
    for (const std::string& word : words(words_of_argument)) {
      ++choices;
      CHECK_MESSAGE(has(page, joined({"`", verb, " ", word, "`"})), verb << " " << word << " is not in docs/cli.md");
    }
  }
  CHECK(choices >= 5);
}

}  // namespace
}  // namespace mixgrad::test
