// The program: finds the verb, has its options read (apps/options/command_line/command_line.h), and turns errors into
// exit codes.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>

#include "apps/options/command_line/command_line.h"
#include "apps/options/command_line/help.h"
#include "apps/output/error_line.h"
#include "apps/output/standard_output.h"
#include "apps/output/version.h"
#include "apps/process/waiting.h"
#include "apps/verbs/verbs.h"
#include "core/dispatch/device_check.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/system/interrupt.h"
#include "core/text/suggest.h"
#include "nn/files/mapping_guard.h"
#include "nn/modules/finite_values.h"

namespace mixgrad::app {
namespace {

using Arguments = std::vector<std::string>;

Verb* find(const std::vector<NamedVerb>& verbs, const std::string& name) {
  const auto found = std::find_if(verbs.begin(), verbs.end(), [&](const NamedVerb& v) { return v.name == name; });
  return found == verbs.end() ? nullptr : found->verb.get();
}

[[noreturn]] void refuse_verb(const std::string& word, const std::vector<NamedVerb>& verbs) {
  Arguments names;
  for (const NamedVerb& verb : verbs) names.push_back(verb.name);
  if (word.starts_with("-")) {
    const std::string near =
        nearest(word.substr(std::min(word.find_first_not_of('-'), word.size())), {"help", "version"});
    raise<ValueError>("unknown option ", quote(word), "; ", near.empty() ? "" : "did you mean --" + near + "? ",
                      "a verb comes first, one of ", join(names));
  }
  Arguments known = names;
  known.insert(known.end(), {"help", "version"});
  raise<ValueError>("unknown verb ", quote(word), "; ", did_you_mean(word, known), "verbs: ", join(names));
}

bool asks_help(const std::string& word) { return word == "--help" || word == "-h"; }

// Is `word` one that this verb takes as its argument, such as train of bench? A verb declares its options once, so one
// of its own is asked.
bool takes_word(const std::string& name, const std::string& word) {
  const std::vector<NamedVerb> verbs = all_verbs();
  Verb* verb = find(verbs, name);
  if (verb == nullptr) return false;
  OptionSet options;
  verb->declare(options);
  const std::vector<ChoiceWord>& choices = options.argument().words;
  return std::any_of(choices.begin(), choices.end(), [&](const ChoiceWord& choice) { return choice.word == word; });
}

int print_help(const std::vector<NamedVerb>& verbs, const Arguments& words) {
  // `help bench train` is the help of bench, whose lines name the words that they belong to.
  const bool of_word = words.size() == 2 && takes_word(words[0], words[1]);
  if (words.size() > 1 && !of_word) {
    raise<ValueError>("help: at most one verb can be given; got ", words.size(), " words; give one of them");
  }
  const bool about_itself = words.size() == 1 && (words[0] == "help" || words[0] == "version" || asks_help(words[0]));
  if (!words.empty() && !about_itself) {
    Verb* verb = find(verbs, words[0]);
    if (verb == nullptr) refuse_verb(words[0], verbs);
    return run_verb(words[0], *verb, {"--help"});
  }
  std::vector<VerbSummary> summaries;
  for (const NamedVerb& verb : verbs) summaries.push_back({verb.name, verb.verb->summary()});
  std::cout << program_help(summaries);
  return kOk;
}

int print_version(const std::vector<NamedVerb>& verbs, const Arguments& rest) {
  if (rest.size() == 1 && asks_help(rest[0])) return print_help(verbs, {});
  if (!rest.empty()) raise<ValueError>("version: takes no argument; got ", quote(rest[0]), "; leave it out");
  std::cout << version_text() << "\n";
  return kOk;
}

int run(const Arguments& arguments) {
  const std::vector<NamedVerb> verbs = all_verbs();
  const std::string first = arguments.empty() ? "help" : arguments[0];
  const Arguments rest(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (Verb* verb = find(verbs, first)) return run_verb(first, *verb, rest);
  if (first == "help" || asks_help(first)) return print_help(verbs, rest);
  if (first == "version" || first == "--version") return print_version(verbs, rest);
  refuse_verb(first, verbs);
}

int exit_code_of(const Arguments& arguments) {
  try {
    return run(arguments);
  } catch (const FormatError& error) {
    return fail(kBadInput, error.what());
  } catch (const IoError& error) {
    return fail(kSystem, error.what());
  } catch (const OutOfMemory& error) {
    return fail(kSystem, error.what());
  } catch (const Interrupted& interrupted) {
    return 128 + interrupted.signal;  // the code that stopped has already printed what was saved
  } catch (const std::bad_alloc&) {
    return fail(kSystem, "out of memory");
  } catch (const DeviceMismatch& error) {
    return fail(kCheckFailed, error.what());
  } catch (const NotFinite& error) {
    return fail(kCheckFailed, error.what());
  } catch (const Error& error) {
    return fail(kUsage, error.what());
  } catch (const std::exception& error) {
    return fail(kCheckFailed, std::string("unexpected: ") + error.what());
  }
}

// Everything printed must have arrived: a full disk behind stdout is an error as well.
int flush_output(int code) {
  std::cout.flush();
  const bool lost = std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout;
  if (!lost || code == kSystem || code > 128) return code;  // a run that a signal or SIGPIPE stopped has said so
  fail(kSystem, "stdout: the output could not be written whole; check the free space where it goes");
  return code == kOk ? kSystem : code;
}

}  // namespace
}  // namespace mixgrad::app

int main(int argc, char** argv) {
  using namespace mixgrad;
  app::hold_standard_descriptors();
  std::signal(SIGXFSZ, SIG_IGN);  // a file that grows beyond the limit is a write that fails
  app::spin_briefly(argv);
  flush_denormals();
  guard_mapped_files();
  return app::flush_output(app::exit_code_of({argv + 1, argv + argc}));
}
