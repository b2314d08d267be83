#include "tests/support/named_options.h"

#include <algorithm>
#include <cctype>

#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

bool is_letter(char c) { return std::islower(static_cast<unsigned char>(c)) != 0; }
bool in_word(char c) { return is_letter(c) || std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '-'; }

std::set<std::string> read_options() {
  std::set<std::string> found;
  for (const std::string& verb : verb_names()) {
    std::string option;
    for (const std::string& line : lines_of(run_unchecked({verb, "--help"}).out)) {
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

// The message with what is quoted in it left out.
std::string without_quotes(const std::string& message) {
  std::string text;
  bool quoted = false;
  for (std::size_t i = 0; i < message.size(); ++i) {
    if (message[i] == '\\' && quoted) {
      ++i;
    } else if (message[i] == '"') {
      quoted = !quoted;
    } else if (!quoted) {
      text += message[i];
    }
  }
  return text;
}

bool is_verb(const std::string& word) {
  static const Arguments names = verb_names();
  return std::find(names.begin(), names.end(), word) != names.end();
}

// "train" of "; resume it with mixgrad train --resume DIR ", the text before an option; "" when it names no command.
std::string command_before(const std::string& text) {
  const std::size_t begin = text.find_last_of(";:,.(");
  const Arguments clause = words(begin == std::string::npos ? text : text.substr(begin + 1));
  for (std::size_t i = clause.size(); i-- > 0;) {
    if (clause[i] == "cmake" && i + 1 == clause.size()) return "cmake";
    if (is_verb(clause[i]) && i + 1 == clause.size()) return clause[i];
    if (clause[i] == "mixgrad" && i + 1 < clause.size() && is_verb(clause[i + 1])) return clause[i + 1];
  }
  return {};
}

}  // namespace

const std::set<std::string>& options_of_program() {
  static const std::set<std::string> options = read_options();
  return options;
}

bool verb_has(const std::string& verb, const std::string& option) {
  if (option == "--help" || option == "--config" || option == "--print-config") return true;
  const std::string first = verb.substr(0, verb.find(' '));
  const std::set<std::string>& all = options_of_program();
  if (all.count(first + " " + option) > 0 || all.count(verb + " " + option) > 0) return true;
  return verb == first && std::any_of(all.begin(), all.end(), [&](const std::string& entry) {
           return entry.starts_with(first + " ") && entry.ends_with(" " + option);
         });
}

std::vector<NamedOption> named_options(const std::string& message) {
  const std::string text = without_quotes(message);
  std::vector<NamedOption> found;
  for (std::size_t at = text.find("--"); at != std::string::npos; at = text.find("--", at + 2)) {
    if (at > 0 && (in_word(text[at - 1]) || std::isalnum(static_cast<unsigned char>(text[at - 1])) != 0)) continue;
    std::size_t end = at + 2;
    if (end >= text.size() || !is_letter(text[end])) continue;
    while (end < text.size() && in_word(text[end])) ++end;
    NamedOption named{text.substr(at, end - at), command_before(text.substr(0, at))};
    if (named.verb == "cmake") continue;
    const Arguments after = words(text.substr(end));
    if (named.verb.empty() && after.size() > 1 && after[0] == "of" && is_verb(after[1])) named.verb = after[1];
    found.push_back(named);
  }
  return found;
}

std::string wrong_plural(const std::string& text) {
  static const std::set<std::string> plurals{
      "allocations", "bytes",       "cases", "characters", "checkpoints", "entries",  "evaluations",
      "files",       "generations", "heads", "inner",      "kinds",       "layers",   "operators",
      "parameters",  "positions",   "rows",  "sequences",  "shifts",      "states",   "steps",
      "tensors",     "threads",     "times", "tokens",     "values",      "key/value"};
  if (text.find('\n') != std::string::npos) {
    for (const std::string& line : lines_of(text)) {
      if (const std::string wrong = wrong_plural(line); !wrong.empty()) return wrong;
    }
    return {};
  }
  const Arguments all = words(text);
  for (std::size_t i = 0; i + 1 < all.size(); ++i) {
    std::string noun = all[i + 1].substr(0, all[i + 1].find_last_not_of(".,;:)") + 1);
    const bool two_words = (noun == "inner" || noun == "key/value") && i + 2 < all.size();
    if (two_words) noun = all[i + 2].substr(0, all[i + 2].find_last_not_of(".,;:)") + 1);
    const bool plural = two_words ? noun == "channels" || noun == "heads" : plurals.count(noun) > 0;
    if ((all[i] == "1" || all[i] == "(1") && plural) return joined({all[i], " ", all[i + 1]});
  }
  return {};
}

std::string misnamed_option(const std::string& verb, const std::string& message) {
  for (const NamedOption& named : named_options(message)) {
    const std::string& owner = named.verb.empty() ? verb : named.verb;
    if (!verb_has(owner, named.option)) return joined({owner, " has no ", named.option, ": ", message});
  }
  return {};
}

}  // namespace mixgrad::test
