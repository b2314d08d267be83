// The command line: finds the verb, has its options read (cli_options.h), and turns errors into exit codes.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <new>

#include "apps/options/cli_options.h"
#include "apps/options/verb.h"
#include "apps/output/version.h"
#include "apps/run/waiting.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/system/interrupt.h"
#include "core/text/suggest.h"
#include "nn/files/mapping_guard.h"
#include "ops/support/device_check.h"

namespace mixgrad::app {
namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 done, 1 a check failed, 2 wrong options, 3 bad input (data, checkpoint), 4 system (files, memory),\n"
    "130 and 143 stopped by SIGINT or SIGTERM.";

using Arguments = std::vector<std::string>;

std::vector<std::unique_ptr<Verb>> all_verbs() {
  std::vector<std::unique_ptr<Verb>> verbs;
  for (auto make :
       {make_train, make_generate, make_eval, make_gradcheck, make_conform, make_ops, make_inspect, make_bench}) {
    verbs.push_back(make());
  }
  return verbs;
}

// What is left over: a misspelt option, or an argument that the verb does not take.
[[noreturn]] void refuse_extras(const Arguments& extras, const std::vector<std::string>& names) {
  for (const std::string& extra : extras) {
    const std::string word = extra.substr(0, extra.find('='));
    if (word.size() < 2 || word[0] != '-' || word == "--") continue;
    const std::string near = nearest(word.substr(std::min(word.find_first_not_of('-'), word.size())), names);
    raise<ValueError>("unknown option ", quote(word), near.empty() ? "" : "; did you mean --" + near + "?");
  }
  raise<ValueError>("unexpected argument ", quote(extras.back()));
}

int run_verb(Verb& verb, Arguments arguments) {
  CLI::App command(verb.summary(), verb.name());
  command.allow_extras();  // so that a misspelt option can be named with the nearest right one
  command.footer("Example:\n  " + verb.example() + "\n\n" + kExitCodes);
  CliOptions options(command);
  verb.declare(options);
  options.add_common();
  bool prints = false;
  try {
    bool missing = false;
    options.refuse_missing_values(arguments);
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
    try {
      command.parse(arguments);
    } catch (const CLI::CallForHelp&) {
      command.name("mixgrad " + verb.name());
      std::cout << command.help();
      return kOk;
    } catch (const CLI::RequiredError&) {
      missing = true;  // said below: a misspelt option may be the reason
    } catch (const CLI::ParseError& error) {
      raise<ValueError>(error.what());
    }
    if (command.remaining_size() > 0) refuse_extras(command.remaining(), options.names());
    if (missing) raise<ValueError>("an argument is required, as in ", verb.example());
    options.resolve(verb);
    options.refuse_without_effect(verb);
    prints = options.print_config();
  } catch (const ValueError& error) {
    const std::string text = error.what();
    raise<ValueError>(verb.name(), ": ", text, text.ends_with("?") ? "" : ";", " see mixgrad ", verb.name(), " --help");
  }
  if (prints) {
    options.print(std::cout, verb);
    return kOk;
  }
  return verb.run();
}

int run(const Arguments& arguments) {
  const std::vector<std::unique_ptr<Verb>> verbs = all_verbs();
  const std::string first = arguments.empty() ? "--help" : arguments[0];
  Arguments names;
  for (const auto& verb : verbs) {
    if (verb->name() == first) return run_verb(*verb, {arguments.begin() + 1, arguments.end()});
    names.push_back(verb->name());
  }
  if (first == "--version") {
    std::cout << version_text() << "\n";
    return kOk;
  }
  if (first == "--help" || first == "-h") {
    CLI::App app("mixgrad: train, check and look into small sequence models (softmax attention, shift mixing)",
                 "mixgrad");
    app.set_version_flag("--version", version_text(), "Print version, commit and instruction set and stop");
    for (const auto& verb : verbs) app.add_subcommand(verb->name(), verb->summary());
    app.footer("mixgrad VERB --help tells the options of a verb.\n" + std::string(kExitCodes));
    std::cout << app.help();
    return kOk;
  }
  if (first.starts_with("-")) {
    const std::string near =
        nearest(first.substr(std::min(first.find_first_not_of('-'), first.size())), {"help", "version"});
    raise<ValueError>("unknown option ", quote(first), "; ", near.empty() ? "" : "did you mean --" + near + "? ",
                      "a verb comes first, one of ", join(names));
  }
  raise<ValueError>("unknown verb ", quote(first), "; ", did_you_mean(first, names), "verbs: ", join(names));
}

// One line, whatever a file's name or content brought into the text.
int fail(ExitCode code, const std::string& text) {
  std::string line;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      line += c;
    } else {
      char escape[8];
      std::snprintf(escape, sizeof escape, c == '\n' ? "\\n" : "\\x%02x", static_cast<unsigned>(byte));
      line += escape;
    }
  }
  std::fprintf(stderr, "mixgrad: %s\n", line.c_str());
  return code;
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
    return 128 + interrupted.signal;  // whoever let it through has said what stands
  } catch (const std::bad_alloc&) {
    return fail(kSystem, "out of memory; try a smaller --batch or model");
  } catch (const DeviceMismatch& error) {
    return fail(kCheckFailed, error.what());
  } catch (const Error& error) {
    return fail(kUsage, error.what());
  } catch (const std::exception& error) {
    return fail(kCheckFailed, std::string("unexpected: ") + error.what());
  }
}

// What was printed must have arrived: a full disk behind stdout is an error as well.
int flush_output(int code) {
  std::cout.flush();
  const bool lost = std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout;
  if (!lost || code == kSystem) return code;
  fail(kSystem, "stdout: the output could not be written whole; check the free space where it goes");
  return code == kOk ? kSystem : code;
}

}  // namespace
}  // namespace mixgrad::app

int main(int argc, char** argv) {
  using namespace mixgrad;
  app::spin_briefly(argv);
  flush_denormals();
  guard_mapped_files();
  return app::flush_output(app::exit_code_of({argv + 1, argv + argc}));
}
