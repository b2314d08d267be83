#include "apps/options/command_line/help.h"

#include <algorithm>
#include <iterator>

namespace mixgrad::app {
namespace {

constexpr std::size_t kColumns = 100;
constexpr std::size_t kIndent = 27;  // column of the explanations

constexpr const char* kExitCodes =
    "Exit codes: 0 done, 1 a check failed, 2 wrong options, 3 bad input (data, checkpoint), 4 system (files, memory), "
    "128 + N stopped by signal N (130 by Ctrl-C).";

// Appends `text` to `lines`, whose last line is `column` wide. Further lines are indented and at most kColumns wide. A
// line feed in the text starts a line.
void append_wrapped(std::string& lines, std::size_t column, const std::string& text, std::size_t indent) {
  const auto next_line = [&] {
    lines += "\n" + std::string(indent, ' ');
    column = indent;
  };
  std::size_t begin = 0;
  bool first = true;  // of its line
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find_first_of(" \n", begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (!first && column + 1 + word.size() > kColumns) {
      next_line();
      first = true;
    }
    lines += (first ? "" : " ") + word;
    column += word.size() + (first ? 0 : 1);
    first = end < text.size() && text[end] == '\n';
    if (first) next_line();
    begin = end + 1;
  }
}

std::string paragraph(const std::string& text) {
  std::string lines;
  append_wrapped(lines, 0, text, 0);
  return lines + "\n";
}

// `term` on the left and its explanation on the right.
std::string entry(const std::string& term, const std::string& explanation) {
  std::string lines = "  " + term;
  if (lines.size() + 2 > kIndent) {
    lines += "\n" + std::string(kIndent, ' ');
  } else {
    lines.append(kIndent - lines.size(), ' ');
  }
  append_wrapped(lines, kIndent, explanation, kIndent);
  return lines + "\n";
}

std::string joined_words(const std::vector<ChoiceWord>& words) {
  std::string text;
  for (const ChoiceWord& word : words) text += (text.empty() ? "" : "|") + word.word;
  return text;
}

std::string option_entry(const OptionSpec& option) {
  std::string term = "--" + option.name;
  std::string help = option.help;
  if (!option.flag) {
    // A long list of words stands in the explanation, where it can be wrapped.
    const std::string& value = option.traits.value;
    const bool short_value = term.size() + value.size() + 5 <= kIndent;
    if (short_value) {
      term += " " + value;
    } else {
      term += value.find('|') == std::string::npos ? " " + value : " WORD";
      if (value.find('|') != std::string::npos) help = value + ". " + help;
    }
  }
  if (!option.default_text.empty()) help += " (default " + option.default_text + ")";
  if (!option.traits.only_for.empty()) {
    std::string words;
    for (const std::string& word : option.traits.only_for) words += (words.empty() ? "" : " and ") + word;
    help = "[" + words + "] " + help;
  }
  return entry(term, help);
}

}  // namespace

std::string program_help(const std::vector<VerbSummary>& verbs) {
  std::string text = paragraph(
      "mixgrad: train, check and look into small sequence models (softmax attention, shift mixing, Mamba heads)");
  text += "\nUsage: mixgrad VERB [OPTIONS]\n\nVerbs:\n";
  for (const VerbSummary& verb : verbs) text += entry(verb.name, verb.summary);
  text += entry("help [VERB]", "Print this page, or the options of a verb (also: mixgrad VERB --help)");
  text += entry("version", "Print version, commit, instruction set and devices (also: mixgrad --version)");
  return text + "\n" + paragraph(kExitCodes);
}

std::string verb_help(const std::string& name, const Verb& verb, const OptionSet& options) {
  const OptionSet::Argument& argument = options.argument();
  std::string text = paragraph("mixgrad " + name + ": " + verb.summary());
  text += "\nUsage: mixgrad " + name;
  if (argument.word != nullptr) text += " " + joined_words(argument.words);
  if (argument.files != nullptr)
    text +=
        argument.use == OptionSet::ArgumentUse::required ? " " + argument.name + "..." : " [" + argument.name + "...]";
  text += " [OPTIONS]\n";
  if (argument.word != nullptr) {
    text += "\n";
    for (const ChoiceWord& word : argument.words) text += entry(word.word, word.help);
  }
  if (argument.files != nullptr) text += "\n" + entry(argument.name, argument.help);
  for (std::size_t group = 0; group < std::size(kGroupTitles); ++group) {
    std::string lines;
    for (const OptionSpec& option : options.options()) {
      if (option.traits.group == static_cast<OptionGroup>(group)) lines += option_entry(option);
    }
    if (!lines.empty()) text += "\n" + std::string(kGroupTitles[group]) + ":\n" + lines;
  }
  text += "\nGeneral:\n";
  const bool own = options.own_config() != nullptr;
  text += entry("--config FILE",
                own ? options.own_config_help() : "TOML file with any of these options; the command line wins");
  text += entry("--print-config", "Print all values as TOML and stop");
  text += entry("--help", "Print this page and stop");
  return text + "\nExample:\n  " + verb.example() + "\n\n" + paragraph(kExitCodes);
}

}  // namespace mixgrad::app
