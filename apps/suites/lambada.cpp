// LAMBADA (Paperno et al., 2016): the last word of a passage, given all before it. A file of JSON lines with the field
// "text", in OpenAI's form. The word is what follows the last blank; it is right when each of its tokens is the
// likeliest after those before it. The passage is encoded as a whole, so that the word has the blank before it with
// tokenizers whose pieces begin with one. Accuracy and perplexity (e to the mean of -log P(word)) are those of
// lm-evaluation-harness's lambada_openai.
#include <cmath>

#include "apps/suites/built_in_suites.h"
#include "core/error.h"
#include "nn/evaluation/evaluation.h"
#include "nn/evaluation/likelihood.h"
#include "nn/evaluation/task_evaluation.h"
#include "nn/files/strict_json.h"

namespace mixgrad::app {
namespace {

std::string passage_of(const NumberedLine& line) {
  const nlohmann::json value = parse_strict_json(line.text, line.place);
  if (!value.is_object() || !value.contains("text") || !value["text"].is_string()) {
    raise<FormatError>(line.place, ": an object with the text \"text\" is required; give LAMBADA in OpenAI's form");
  }
  const std::string text = value["text"].get<std::string>();
  const std::size_t blank = text.rfind(' ');
  if (blank == std::string::npos || blank == 0 || blank + 1 == text.size()) {
    raise<FormatError>(line.place, ": a passage with a last word behind a blank is required; there is none; ",
                       "correct the line");
  }
  return text;
}

LikelihoodQuery query_of(const SuiteInput& input, const NumberedLine& line) {
  const std::string text = passage_of(line);
  const std::vector<std::int32_t> whole = suite_tokens(input, text, line.place);
  const std::vector<std::int32_t> before = suite_tokens(input, text.substr(0, text.rfind(' ')), line.place);
  if (before.size() >= whole.size()) {
    raise<FormatError>(line.place, ": the last word must have a token of its own; it has none; leave the line out");
  }
  const auto split = whole.begin() + static_cast<std::ptrdiff_t>(before.size());
  return {{whole.begin(), split}, {split, whole.end()}};
}

SuiteTable run_lambada(const SuiteInput& input) {
  std::vector<LikelihoodQuery> queries;
  for (const NumberedLine& line : suite_lines(input.file)) queries.push_back(query_of(input, line));
  if (queries.empty()) raise<FormatError>(input.file, ": at least one passage is required; the file has none");
  Proportion right;
  std::vector<PartialSum> losses;
  for (const Likelihood& one : likelihoods(input.model, queries, input.batch)) {
    right.add(one.likeliest);
    losses.push_back({-one.log_probability, 1});
  }
  const Evaluation mean = evaluation_of(losses, 1);
  const Proportion::Interval interval = right.interval();
  return {.columns = {{.key = "accuracy", .number = true, .format = "%.4f"},
                      {.key = "low", .number = true, .format = "%.4f"},
                      {.key = "high", .number = true, .format = "%.4f"},
                      {.key = "perplexity", .number = true, .format = "%.2f"},
                      {.key = "loss", .title = "nats a word", .number = true, .format = "%.4f"},
                      {.key = "passages", .number = true}},
          .rows = {{right.share(), interval.low, interval.high, mean.perplexity, mean.loss, right.count}}};
}

}  // namespace

Suite built_in::lambada_suite() {
  return {.name = "lambada", .what = "the last word of a passage", .run = run_lambada};
}

}  // namespace mixgrad::app
