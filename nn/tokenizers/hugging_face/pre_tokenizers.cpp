#include "nn/tokenizers/hugging_face/pre_tokenizers.h"

#include "nn/tokenizers/hugging_face/normalizers.h"

namespace mixgrad {
namespace {

struct Splits {
  bool operator()(const SplitStep&) const { return true; }
  bool operator()(const ByteLevelStep& step) const { return step.use_regex; }
  bool operator()(const MetaspaceStep& step) const { return step.split; }
};

struct PatternOf {
  std::optional<SplitPattern> operator()(const SplitStep& step) const { return step.pattern; }
  std::optional<SplitPattern> operator()(const ByteLevelStep& step) const {
    return step.use_regex ? std::optional(SplitPattern::gpt2) : std::nullopt;
  }
  std::optional<SplitPattern> operator()(const MetaspaceStep&) const { return std::nullopt; }
};

struct Prepare {
  std::string_view part;
  bool at_start;
  std::string& text;

  std::string_view operator()(const SplitStep&) const { return part; }
  std::string_view operator()(const ByteLevelStep& step) const {
    if (!step.add_prefix_space || part.starts_with(' ')) return part;
    text = " ";
    return text += part;
  }
  std::string_view operator()(const MetaspaceStep& step) const {
    text = replaced(part, " ", step.replacement);
    const bool wanted =
        step.prepend == MetaspaceStep::Prepend::always || (step.prepend == MetaspaceStep::Prepend::first && at_start);
    if (wanted && !text.starts_with(step.replacement)) text.insert(0, step.replacement);
    return text;
  }
};

struct PrefixOf {
  std::size_t operator()(const SplitStep&) const { return 0; }
  std::size_t operator()(const ByteLevelStep& step) const { return step.add_prefix_space ? 1 : 0; }
  std::size_t operator()(const MetaspaceStep& step) const { return step.replacement.size(); }
};

}  // namespace

bool splits_into_words(const std::vector<PreTokenizer>& steps) {
  return !steps.empty() && std::visit(Splits(), steps.front());
}

std::size_t prefix_bytes(const std::vector<PreTokenizer>& steps) {
  std::size_t bytes = 0;
  for (const PreTokenizer& step : steps) bytes += std::visit(PrefixOf(), step);
  return bytes;
}

WordMaker::WordMaker(const std::vector<PreTokenizer>& steps) {
  for (const PreTokenizer& step : steps) {
    Stage& stage = stages_.emplace_back(Stage{step, std::nullopt, {}});
    if (const auto pattern = std::visit(PatternOf(), step)) stage.splitter.emplace(*pattern);
  }
}

std::string_view WordMaker::prepared(Stage& stage, std::string_view part, bool at_start) {
  return std::visit(Prepare{part, at_start, stage.text}, stage.step);
}

}  // namespace mixgrad
