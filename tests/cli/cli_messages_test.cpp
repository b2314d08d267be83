// Every message that names an option names one that the verb has in which it appears. Here the sources are read; what
// the program really prints is looked at in every test that runs it (run_program in tests/support/cli.h).
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "tests/support/cli.h"
#include "tests/support/named_options.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;
using Paths = std::set<std::string>;

const std::string kRoot = std::string(MIXGRAD_SOURCE_DIR) + "/";

// The string literals of a C++ source, adjacent ones joined as the compiler joins them; comments are left out.
Arguments literals_of(const std::string& source) {
  Arguments found;
  bool adjacent = false;
  for (std::size_t i = 0; i < source.size(); ++i) {
    const std::string two = source.substr(i, 2);
    if (two == "//") {
      i = std::min(source.find('\n', i), source.size() - 1);
    } else if (source[i] == '\'' && i + 2 < source.size()) {  // 'x', '\'', and not the one of 1'000
      const bool digit = i > 0 && std::isalnum(static_cast<unsigned char>(source[i - 1])) != 0;
      if (!digit) i = source.find('\'', i + (source[i + 1] == '\\' ? 3 : 2));
      adjacent = false;
    } else if (source[i] == '"') {
      std::string text;
      for (++i; i < source.size() && source[i] != '"'; ++i) {
        if (source[i] == '\\') text += source[i++];
        text += source[i];
      }
      adjacent ? void(found.back() += text) : found.push_back(text);
      adjacent = true;
    } else if (std::isspace(static_cast<unsigned char>(source[i])) == 0) {
      adjacent = false;
    }
  }
  return found;
}

bool some_verb_has(const std::string& option) {
  const Arguments verbs = verb_names();
  return std::any_of(verbs.begin(), verbs.end(), [&](const std::string& verb) { return verb_has(verb, option); });
}

TEST_CASE("cli messages: string literals and the options in them are found as they are") {
  const Arguments found = literals_of("f(\"a\"\n  \"b\", 'c', '\"', \"\\\"--x\"); // \"--no\"\n g(1'000, \"--y\");");
  CHECK((found == Arguments{"ab", "\\\"--x", "--y"}));
  const auto options = [](const std::string& message) {
    std::string text;
    for (const NamedOption& named : named_options(message)) text += joined({named.option, "@", named.verb, " "});
    return text;
  };
  CHECK(options("give --data FILE or --min-lr; not \"--typed\", well--known or --") == "--data@ --min-lr@ ");
  CHECK(options("saved; resume it with mixgrad train --resume DIR; --json") == "--resume@train --json@ ");
  CHECK(options("build with cmake --preset cuda") == "");
  CHECK(options("as --temperature of generate") == "--temperature@generate ");
  CHECK(misnamed_option("eval", "give --data and --batch") == "");
  CHECK(misnamed_option("eval", "give a lower --lr") == "eval has no --lr: give a lower --lr");
  CHECK(misnamed_option("eval", "begin with mixgrad train --lr X") == "");
  CHECK(misnamed_option("train", "see mixgrad generate --lr") == "generate has no --lr: see mixgrad generate --lr");
  CHECK(misnamed_option("bench decode", "give --lr") != "");
  CHECK(misnamed_option("bench train", "give --lr") == "");
}

TEST_CASE("cli messages: a count of one before a plural is found") {
  for (const char* wrong : {"ran 1 operators, 2 rows", "(1 steps)", "1 heads of width 8", "at 1 tokens; so",
                            "1 inner channels", "2 heads, 1 key/value heads"}) {
    CHECK(wrong_plural(wrong) != "");
  }
  for (const char* right : {"1 operator, 11 rows", "0.1 steps", "layer 1 has heads", "of 21 tokens", "1 token"}) {
    CHECK(wrong_plural(right) == "");
  }
}

Paths sources_below(const std::string& folder) {
  Paths found;
  for (const auto& entry : fs::recursive_directory_iterator(kRoot + folder)) {
    const std::string ending = entry.path().extension().string();
    if (ending == ".cpp" || ending == ".h" || ending == ".cu" || ending == ".cuh" || ending == ".def") {
      found.insert(fs::relative(entry.path(), kRoot).string());
    }
  }
  return found;
}

// Other programs have other options: what is below nn/ names none, and nn/ only those that some verb has.
TEST_CASE("cli messages: the library names no option that the program does not have") {
  int files = 0;
  for (const std::string folder : {"core", "autograd", "ops", "nn"}) {
    for (const std::string& file : sources_below(folder)) {
      ++files;
      for (const std::string& literal : literals_of(TempFolder::get(kRoot + file))) {
        for (const NamedOption& named : named_options(literal)) {
          const bool command = !named.verb.empty() && verb_has(named.verb, named.option);
          CHECK_MESSAGE((command || (folder == "nn" && some_verb_has(named.option))),
                        file << ": " << named.option << " in: " << literal
                             << "\nsay it in words, or name the command, as in mixgrad train --resume");
        }
      }
    }
  }
  CHECK(files > 200);
}

// The files of apps/ that a file needs: what it includes, and of a header its source too.
void add_needed(const std::string& file, Paths& needed) {
  if (!fs::exists(kRoot + file) || !needed.insert(file).second) return;
  for (const std::string& line : lines_of(TempFolder::get(kRoot + file))) {
    const std::size_t at = line.find("#include \"apps/");
    if (at == std::string::npos) continue;
    const std::string header = line.substr(at + 10, line.find('"', at + 10) - at - 10);
    add_needed(header, needed);
    add_needed(header.substr(0, header.rfind('.')) + ".cpp", needed);
  }
}

// The options that a file declares: a message about one of them appears where it is declared.
Paths declared_by(const std::string& source) {
  Paths found;
  for (const char* call : {"options.add(", "options.add_flag(", "options.add_switch(", "options.add_list("}) {
    for (std::size_t at = source.find(call); at != std::string::npos; at = source.find(call, at + 1)) {
      const std::size_t open = source.find_first_not_of(" \n", at + std::string(call).size());
      if (open != std::string::npos && source[open] == '"') {
        found.insert("--" + source.substr(open + 1, source.find('"', open + 1) - open - 1));
      }
    }
  }
  return found;
}

TEST_CASE("cli messages: what apps/ says of options is true of every verb that may say it") {
  std::map<std::string, Paths> verbs_of;  // by file
  for (const std::string& verb : verb_names()) {
    Paths needed;
    const std::string place = "apps/verbs/" + verb;
    if (fs::is_directory(fs::path(kRoot) / place)) {
      for (const std::string& file : sources_below(place)) add_needed(file, needed);
    } else {
      add_needed(place + ".cpp", needed);
    }
    CHECK(needed.size() > 3);
    for (const std::string& file : needed) verbs_of[file].insert(verb);
  }
  // The options that several verbs share are read in one file and declared in another.
  Paths shared;
  for (const std::string& file : sources_below("apps/options"))
    shared.merge(declared_by(TempFolder::get(kRoot + file)));
  int named_in_all = 0;
  for (const std::string& file : sources_below("apps")) {
    const std::string source = TempFolder::get(kRoot + file);
    const Paths own = file.starts_with("apps/options/") ? shared : declared_by(source);
    Paths verbs = verbs_of[file];
    if (file.starts_with("apps/web/"))
      verbs = {"train", "generate", "gradcheck", "explore"};  // whose options the page has
    const bool everywhere = file == "apps/main.cpp" || file.starts_with("apps/options/command_line/") ||
                            file.starts_with("apps/options/config_file");
    for (const std::string& literal : literals_of(source)) {
      for (const NamedOption& named : named_options(literal)) {
        ++named_in_all;
        INFO(file << ": " << literal);
        if (!named.verb.empty()) {
          CHECK_MESSAGE(verb_has(named.verb, named.option), named.verb << " has no " << named.option);
          continue;
        }
        CHECK_MESSAGE((named.option == "--version" || some_verb_has(named.option)), "no verb has " << named.option);
        if (everywhere || own.count(named.option) > 0) continue;
        CHECK_MESSAGE(!verbs.empty(), "no verb needs this file");
        // A file that verbs share may know which of them calls; what a verb prints is looked at in run_program.
        if (verbs.size() > 1) {
          CHECK_MESSAGE(
              std::any_of(verbs.begin(), verbs.end(), [&](auto& verb) { return verb_has(verb, named.option); }),
              "none of the verbs that need the file has " << named.option);
          continue;
        }
        for (const std::string& verb : verbs) {
          CHECK_MESSAGE(verb_has(verb, named.option), verb << " has no " << named.option);
        }
      }
    }
  }
  CHECK(named_in_all > 60);
}

}  // namespace
}  // namespace mixgrad::test
