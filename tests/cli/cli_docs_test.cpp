// docs/cli.md and apps/README.md against the program: the verbs, and the options of each verb, both ways.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "nn/config/layer_kinds.h"
#include "tests/support/cli.h"
#include "tests/support/named_options.h"

namespace mixgrad::test {
namespace {

using Words = std::set<std::string>;

// In one line, so that a failure shows which differ.
std::string line_of(const Words& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
  return line;
}

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

TEST_CASE("cli docs: docs/cli.md has exactly the options of each verb") {
  const Words& program = options_of_program();
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
    CHECK(line_of(verbs) == line_of(Words(names.begin(), names.end())));
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

// A line of the page as a shell takes it apart: blanks, and "..." around a word.
Arguments shell_words(const std::string& line) {
  Arguments found;
  std::string word;
  bool quoted = false;
  bool begun = false;
  for (const char c : line + " ") {
    if (c == '"') {
      quoted = !quoted;
      begun = true;
    } else if (c == ' ' && !quoted) {
      if (begun) found.push_back(word);
      word.clear();
      begun = false;
    } else {
      word += c;
      begun = true;
    }
  }
  return found;
}

TEST_CASE("cli docs: every command of docs/cli.md is one that the program takes") {
  Arguments commands;
  bool block = false;
  for (const std::string& line : lines_of_file("docs/cli.md")) {
    if (line.starts_with("```")) block = !block;
    if (block && line.starts_with("mixgrad ")) commands.push_back(line);
    for (const std::string& quoted : block ? Arguments() : quoted_words(line)) {
      if (quoted.starts_with("mixgrad ") && has(quoted, " --") && !has(quoted, "VERB")) commands.push_back(quoted);
    }
  }
  CHECK(commands.size() >= 8);
  for (const std::string& command : commands) {
    Arguments arguments = shell_words(command.substr(0, command.find('#')));
    arguments.erase(arguments.begin());
    if (arguments[0] != "--version") arguments.emplace_back("--print-config");
    const Finished run = run_program(arguments);
    CHECK_MESSAGE(trouble(run) == "", command);
  }
}

TEST_CASE("cli docs: the table of patterns has every mixer, and every pattern of it makes a model") {
  Words names;
  int patterns = 0;
  bool table = false;
  for (std::string line : lines_of_file("docs/cli.md")) {
    if (line.starts_with("| pattern |")) table = true;
    if (!line.starts_with("|")) table = false;
    for (std::size_t at = line.find("\\|"); at != std::string::npos; at = line.find("\\|")) line.replace(at, 2, "!");
    const Arguments cells = table ? cells_of(line) : Arguments();
    if (cells.empty()) continue;
    for (std::string pattern : quoted_words(cells[0])) {
      std::replace(pattern.begin(), pattern.end(), '!', '|');
      CAPTURE(pattern);
      ++patterns;
      for (std::string rest = pattern; !rest.empty();) {  // the names of its items
        const std::size_t end = rest.find_first_of("(,");
        names.insert(rest.substr(0, end));
        const std::size_t close = end == std::string::npos || rest[end] == ',' ? end : rest.find(')', end);
        const std::size_t comma = close == std::string::npos ? close : rest.find(',', close);
        rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
      }
      const Finished run = mixgrad("inspect model --layers 4 --heads 4", {"--mixer", pattern});
      CHECK(trouble(run) == "");
    }
  }
  CHECK(patterns >= 13);
  const std::vector<std::string> known = pattern_names();
  CHECK(line_of(names) == line_of(Words(known.begin(), known.end())));
}

TEST_CASE("cli docs: the words and presets that options take stand in docs/cli.md") {
  const std::string page = TempFolder::get(std::string(MIXGRAD_SOURCE_DIR) + "/docs/cli.md");
  Words all;
  for (const std::string& quoted : quoted_words(page)) {
    for (const std::string& word : words(quoted)) all.insert(word);
  }
  int checked = 0;
  for (const std::string& verb : verb_names()) {
    bool presets = false;
    for (const std::string& line : lines_of(mixgrad(verb + " --help").out)) {
      if (line.starts_with("  --")) presets = line.starts_with("  --preset");
      if (presets && line.size() > 27 && has(line, ": ") && !line.starts_with("  --preset")) {
        const std::string name = line.substr(27, line.find(':') - 27);
        if (line[27] != ' ' && !has(name, " ")) {
          ++checked;
          CHECK_MESSAGE(all.count(name) == 1, verb << ": the preset " << name << " is not in docs/cli.md");
        }
      }
      if (!line.starts_with("  --") || words(line).size() < 2) continue;
      // "  --tokenizer char|byte  ..." or "  --mlp WORD  gelu|relu. ..."
      std::string values = words(line)[1] == "WORD" && words(line).size() > 2 ? words(line)[2] : words(line)[1];
      if (values.find('|') == std::string::npos) continue;
      values = values.substr(0, values.find_last_not_of('.') + 1);
      std::replace(values.begin(), values.end(), '|', ' ');
      for (const std::string& word : words(values)) {
        if (word == "SOURCE..." || word == "FRACTION" || word == "true" || word == "false") continue;
        ++checked;
        CHECK_MESSAGE(all.count(word) == 1,
                      verb << " " << words(line)[0] << ": the word " << word << " is not in docs/cli.md");
      }
    }
  }
  CHECK(checked > 60);
}

}  // namespace
}  // namespace mixgrad::test
