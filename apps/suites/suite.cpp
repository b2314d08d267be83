#include "apps/suites/suite.h"

#include <algorithm>

#include "apps/generation/prompt.h"
#include "apps/suites/built_in_suites.h"
#include "core/error.h"
#include "nn/files/file.h"

namespace mixgrad::app {

const std::vector<Suite>& suites() {
  static const std::vector<Suite> all = [] {
    std::vector<Suite> list;
#define SUITE(kind)                         \
  list.push_back(built_in::kind##_suite()); \
  MIXGRAD_ASSERT(list.back().name == #kind, "a suite has the name that suites.def gives it");
#include "apps/suites/suites.def"
#undef SUITE
    return list;
  }();
  return all;
}

const Suite& suite_by_name(std::string_view name) {
  const auto found = std::find_if(suites().begin(), suites().end(), [&](const Suite& s) { return s.name == name; });
  MIXGRAD_ASSERT(found != suites().end(), "a suite of suites.def");
  return *found;
}

std::vector<std::string> suite_names() {
  std::vector<std::string> names;
  for (const Suite& suite : suites()) names.push_back(suite.name);
  return names;
}

std::vector<std::int32_t> suite_tokens(const SuiteInput& input, const std::string& text, const std::string& place) {
  std::vector<std::int32_t> ids;
  try {
    if (input.unknown.action == UnknownRule::Action::refuse) {
      ids = input.tokenizer.encode(text, place);
    } else {
      const FittedText fitted = fit_text(text, input.tokenizer, input.unknown, place);
      ids = input.tokenizer.encode(fitted.misfits.empty() ? text : fitted.text, place);
    }
  } catch (const MisfitError& error) {  // it is the file that is wrong
    raise<FormatError>(error.what(), "; or give --unknown skip or --unknown replace=C");
  } catch (const ValueError& error) {
    raise<FormatError>(error.what());
  }
  if (ids.empty()) raise<FormatError>(place, ": at least one token is required; the text has none; leave the line out");
  return ids;
}

std::vector<std::int32_t> suite_start(const Tokenizer& tokenizer) {
  const SpecialTokens special = tokenizer.special_tokens();
  if (special.start) return {*special.start};
  if (special.end) return {*special.end};
  return default_prompt(tokenizer).tokens;
}

std::vector<NumberedLine> suite_lines(const std::string& file) {
  constexpr std::size_t kMostSuiteBytes = std::size_t{1} << 30U;
  const std::string content = read_text(file, kMostSuiteBytes, Pipes::wait);
  std::vector<NumberedLine> lines;
  std::int64_t number = 0;
  for (std::size_t at = 0; at < content.size();) {
    const std::size_t end = std::min(content.find('\n', at), content.size());
    std::string line = content.substr(at, end - at);
    at = end + 1;
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    lines.push_back({std::move(line), file + " line " + std::to_string(number)});
  }
  return lines;
}

}  // namespace mixgrad::app
