// For tests of the command line: the program as a process, without a shell, with a limit of time and of memory.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/sanitized.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad::test {

using Arguments = std::vector<std::string>;
using Json = nlohmann::ordered_json;

struct Finished {
  int code = 0;  // the exit code, 128 + the signal, or kTimedOut
  std::string out, err;
};
inline constexpr int kTimedOut = -1;

Arguments words(const std::string& text);

// Runs the program; with `out_path`, its stdout goes there. Fails the test when stderr names an option that the verb
// does not have, unless it was among the arguments, and when a count of one stands before a plural (named_options.h).
Finished run_program(const Arguments& arguments, const std::string& out_path = {});
Finished run_unchecked(const Arguments& arguments, const std::string& out_path = {});

// Without the options that are given again further on, and their values: so that a test can change one option of a
// line.
Arguments last_of_each(const Arguments& arguments);

// A run of train whose stdout is what a person sees.
Arguments without_json(Arguments arguments);

// mixgrad("eval --json", {"--data", path}): last_of_each of the words of `line` and of `more`.
Finished mixgrad(const std::string& line, const Arguments& more = {});

// What was said on stderr but for the tokens a second of generate.
std::string without_speed(const std::string& err);

// Empty when the program ended well and said nothing on stderr but that.
std::string trouble(const Finished& run);

// Empty when the program refused as it must: this exit code and one clear line on stderr.
std::string not_refused(const Finished& run, int code);

std::vector<std::string> lines_of(const std::string& text);
Json json_of(const std::string& text);  // throws where it is none
std::vector<Json> json_lines(const std::string& text);
std::string keys_of(const Json& object);  // "a,b,c", in their order

// A text of few words: short to learn, about 2,000 characters of 19 kinds.
std::string small_text();

inline const std::string kTinyModel = " --layers 1 --d-model 16 --heads 2 --context 8 ";
inline const std::string kTiny = kTinyModel + " --batch 2 --threads 1 --warmup 2 --lr 0.01 ";

// The verbs of the program, from apps/verbs/verbs.def.
Arguments verb_names();

// Trains a tiny model in folder/name, with the lines of --json as its output.
Finished train_tiny(const TempFolder& folder, const std::string& name, const std::string& options,
                    const Arguments& more = {});

}  // namespace mixgrad::test
