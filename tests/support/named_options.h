// Options that a message names, against those of the verb in which it appears.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace mixgrad::test {

// "train --batch" or, for an option that belongs to some words of the argument, "bench train --batch"; read from the
// help of every verb, once.
const std::set<std::string>& options_of_program();

// Whether `verb` ("train"; "bench" or "bench train") has the option ("--batch").
bool verb_has(const std::string& verb, const std::string& option);

struct NamedOption {
  std::string option;  // "--batch"
  std::string verb;    // that the message names with it, as in "mixgrad train --resume" or "--temperature of generate"
};
// The options that a message names: not what it quotes, which a user has typed, and not those of cmake.
std::vector<NamedOption> named_options(const std::string& message);

// "" when each option that the message names is one of the verb's, or of the verb that is named with it; else the first
// one that is not.
std::string misnamed_option(const std::string& verb, const std::string& message);

// "" when no count of one stands before a plural, as in "1 operators"; else the words.
std::string wrong_plural(const std::string& text);

}  // namespace mixgrad::test
