// BLiMP (Warstadt et al., 2020): pairs of sentences of which one is grammatical. A table with tabs and a first line of
// names, of which uid (the paradigm), good and bad are read. A pair is right when log P(good) > log P(bad), each
// sentence as a whole behind the start of a text, as in lm-evaluation-harness.
#include <algorithm>
#include <map>

#include "apps/suites/built_in_suites.h"
#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/evaluation/likelihood.h"
#include "nn/evaluation/task_evaluation.h"

namespace mixgrad::app {
namespace {

std::vector<std::string> cells_of_line(const std::string& line) {
  std::vector<std::string> cells;
  for (std::size_t at = 0; at <= line.size();) {
    const std::size_t end = std::min(line.find('\t', at), line.size());
    cells.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  return cells;
}

std::size_t column_of(const std::vector<std::string>& names, const std::string& name, const std::string& file) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    raise<FormatError>(file, ": a first line with the columns uid, good and bad is required; there is no ", quote(name),
                       "; the line has ", join(names));
  }
  return static_cast<std::size_t>(found - names.begin());
}

std::vector<TableCell> row_of(const std::string& paradigm, const Proportion& right) {
  const Proportion::Interval interval = right.interval();
  return {paradigm, right.share(), interval.low, interval.high, right.count};
}

SuiteTable run_blimp(const SuiteInput& input) {
  const std::vector<NumberedLine> lines = suite_lines(input.file);
  if (lines.size() < 2) {
    raise<FormatError>(input.file, ": a line of names and at least one pair are required; the file has ", lines.size(),
                       lines.size() == 1 ? " line" : " lines");
  }
  const std::vector<std::string> names = cells_of_line(lines[0].text);
  const std::size_t uid = column_of(names, "uid", input.file);
  const std::size_t good = column_of(names, "good", input.file);
  const std::size_t bad = column_of(names, "bad", input.file);
  const std::vector<std::int32_t> start = suite_start(input.tokenizer);
  std::vector<LikelihoodQuery> queries;
  std::vector<std::string> paradigms;  // of each pair
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> cells = cells_of_line(lines[i].text);
    if (cells.size() != names.size()) {
      raise<FormatError>(lines[i].place, ": as many cells as the first line has names, ", names.size(),
                         ", are required; there are ", cells.size(), "; correct the line");
    }
    paradigms.push_back(cells[uid]);
    for (const std::size_t side : {good, bad}) {
      queries.push_back({start, suite_tokens(input, cells[side], lines[i].place)});
    }
  }
  const std::vector<Likelihood> all = likelihoods(input.model, queries, input.batch);
  Proportion total;
  std::map<std::string, Proportion> by_paradigm;
  std::vector<std::string> order;  // of the file
  for (std::size_t pair = 0; pair < paradigms.size(); ++pair) {
    const bool right = all[2 * pair].log_probability > all[2 * pair + 1].log_probability;
    if (by_paradigm.count(paradigms[pair]) == 0) order.push_back(paradigms[pair]);
    by_paradigm[paradigms[pair]].add(right);
    total.add(right);
  }
  SuiteTable table{.columns = {{.key = "paradigm"},
                               {.key = "accuracy", .number = true, .format = "%.4f"},
                               {.key = "low", .number = true, .format = "%.4f"},
                               {.key = "high", .number = true, .format = "%.4f"},
                               {.key = "pairs", .number = true}},
                   .rows = {}};
  for (const std::string& paradigm : order) table.rows.push_back(row_of(paradigm, by_paradigm[paradigm]));
  table.rows.push_back(row_of("all", total));
  return table;
}

}  // namespace

Suite built_in::blimp_suite() {
  return {.name = "blimp", .what = "pairs of sentences, the grammatical one is more probable", .run = run_blimp};
}

}  // namespace mixgrad::app
