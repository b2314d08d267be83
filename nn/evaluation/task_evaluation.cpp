#include "nn/evaluation/task_evaluation.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/text/plural.h"
#include "nn/data/task_batches.h"
#include "nn/distributed/agreement.h"
#include "nn/modules/finite_values.h"
#include "ops/linear/linear.h"

namespace mixgrad {
namespace {

constexpr std::int64_t kLogitNumbers = std::int64_t{1} << 22U;  // at a time

void check_model(const Decoder& model, const Task& task) {
  const ModelConfig& config = model.config();
  if (task.vocabulary() > config.vocab_size) {
    raise<ValueError>(task.text(), ": a model with at least ", count_text(task.vocabulary(), "token"),
                      " is required; this one has ", config.vocab_size, "; take a task with a smaller vocabulary");
  }
  if (task.length() > config.context && config.positions == Positions::learned) {
    raise<ValueError>(task.text(), ": its sequences have ", count_text(task.length(), "token"),
                      ", and the model has learned positions for ", config.context,
                      "; take a shorter task, or train with --positions rope or none");
  }
}

// What a model says about one target.
struct Said {
  bool right = false;
  double loss = 0;
};

Said judge(const double* logits, std::int64_t vocabulary, std::int32_t target) {
  const double* most = std::max_element(logits, logits + vocabulary);  // the first of equal ones
  double sum = 0;
  for (std::int64_t v = 0; v < vocabulary; ++v) sum += std::exp(logits[v] - *most);
  return {most - logits == target, *most + std::log(sum) - logits[target]};
}

class TaskScoring {
 public:
  TaskScoring(const Decoder& model, const Task& task, const TaskEvaluationOptions& options)
      : model_(model), task_(task), options_(options) {}

  TaskScore run() {
    const ContextScope scope(model_.context());
    Communicator* ranks = options_.ranks;
    const std::int64_t stride = options_.batch * (ranks == nullptr ? 1 : ranks->size());
    const std::int64_t own = options_.batch * (ranks == nullptr ? 0 : ranks->rank());
    for (std::int64_t round = 0; round < options_.sequences; round += stride) {
      check_interrupt_of(ranks);
      losses_.push_back(0);
      const std::int64_t first = round + own;
      if (first < options_.sequences) score_batch(first, std::min(options_.batch, options_.sequences - first));
    }
    if (ranks != nullptr) add_up(*ranks);
    double loss = 0;
    for (const double of_batch : losses_) loss += of_batch;
    score_.loss = loss / static_cast<double>(std::max<std::int64_t>(score_.tokens.count, 1));
    return score_;
  }

 private:
  // Makes the counts and losses of this rank those of all; the losses in the order of the batches.
  void add_up(Communicator& ranks) {
    const std::vector<double> all = ranks.gather(losses_);
    std::vector<double> in_order;
    for (std::size_t i = 0; i < losses_.size(); ++i) {
      for (std::size_t at = i; at < all.size(); at += losses_.size()) in_order.push_back(all[at]);
    }
    losses_ = in_order;
    std::string own;
    each_count(score_, [&](const std::string& key, const Proportion& count) {
      own += key + " " + std::to_string(count.right) + " " + std::to_string(count.count) + "\n";
    });
    TaskScore sum;
    for (const std::string& text : ranks.gather(own)) add_counts(text, sum);
    score_ = sum;
  }

  // Each of the counts of a score with a key: "answers 0", "hop 3".
  template <class Use>
  static void each_count(const TaskScore& score, const Use& use) {
    use("answers 0", score.answers);
    use("tokens 0", score.tokens);
    use("sequences 0", score.sequences);
    for (const auto& [at, count] : score.by_position) use("position " + std::to_string(at), count);
    for (const auto& [at, count] : score.by_distance) use("distance " + std::to_string(at), count);
    for (const auto& [at, count] : score.by_hop) use("hop " + std::to_string(at), count);
  }

  static void add_counts(const std::string& text, TaskScore& score) {
    std::istringstream lines(text);
    std::string kind;
    std::int64_t at = 0, right = 0, count = 0;
    while (lines >> kind >> at >> right >> count) {
      Proportion& sum = kind == "answers"     ? score.answers
                        : kind == "tokens"    ? score.tokens
                        : kind == "sequences" ? score.sequences
                        : kind == "position"  ? score.by_position[at]
                        : kind == "distance"  ? score.by_distance[at]
                                              : score.by_hop[at];
      sum.right += right;
      sum.count += count;
    }
  }

  void score_batch(std::int64_t first, std::int64_t batch) {
    const std::int64_t length = task_.length();
    const Tensor tokens = Tensor::empty({batch, length}, DType::i32);
    if (std::cmp_less(sequences_.size(), batch)) sequences_.resize(static_cast<std::size_t>(batch));
    for (std::int64_t b = 0; b < batch; ++b) {
      TaskSequence& sequence = sequences_[static_cast<std::size_t>(b)];
      task_.sequence(options_.seed, kFirstTaskEvaluation + static_cast<std::uint64_t>(first + b), sequence);
      std::copy(sequence.tokens.begin(), sequence.tokens.end(), tokens.data<std::int32_t>() + b * length);
    }
    const std::int64_t window = length > model_.config().context ? length : 0;  // all, but of any length
    const Tensor hidden = model_.hidden(tokens, window).to(kCpu);
    judge_targets(hidden, batch);
    for (std::int64_t b = 0; b < batch; ++b) count(sequences_[static_cast<std::size_t>(b)], b);
  }

  // Fills said_ [B T] where there are targets.
  void judge_targets(const Tensor& hidden, std::int64_t batch) {
    const std::int64_t length = task_.length();
    said_.assign(static_cast<std::size_t>(batch * length), {});
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < batch * length; ++i) {
      if (target_at(i) >= 0) rows.push_back(i);
    }
    const auto step = static_cast<std::size_t>(std::max<std::int64_t>(kLogitNumbers / model_.config().vocab_size, 1));
    for (std::size_t at = 0; at < rows.size(); at += step) {
      judge_rows(hidden, {rows.begin() + static_cast<std::ptrdiff_t>(at),
                          rows.begin() + static_cast<std::ptrdiff_t>(std::min(at + step, rows.size()))});
    }
  }

  void judge_rows(const Tensor& hidden, const std::vector<std::int64_t>& rows) {
    const std::size_t bytes = static_cast<std::size_t>(hidden.cols()) * dtype_bytes(hidden.dtype());
    const Tensor chosen = Tensor::empty({static_cast<std::int64_t>(rows.size()), hidden.cols()}, hidden.dtype());
    for (std::size_t r = 0; r < rows.size(); ++r) {
      std::memcpy(static_cast<std::byte*>(chosen.raw()) + r * bytes,
                  static_cast<const std::byte*>(hidden.raw()) + static_cast<std::size_t>(rows[r]) * bytes, bytes);
    }
    const ParameterSet& parameters = model_.parameters();
    const Parameter* head = parameters.find("head.weight");
    const Tensor& weight = (head == nullptr ? parameters.at("embed.weight") : *head).value;
    const Tensor logits = linear(chosen.to(model_.device()), weight);
    require_finite_logits(logits, parameters, "task");
    const Tensor values = logits.to(kCpu).to(DType::f64);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      said_[static_cast<std::size_t>(rows[r])] = judge(
          values.data<double>() + static_cast<std::int64_t>(r) * values.cols(), values.cols(), target_at(rows[r]));
    }
  }

  std::int32_t target_at(std::int64_t i) const {
    const TaskSequence& sequence = sequences_[static_cast<std::size_t>(i / task_.length())];
    return sequence.targets[static_cast<std::size_t>(i % task_.length())];
  }

  void count(const TaskSequence& sequence, std::int64_t row) {
    bool all_right = true;
    for (const TaskAnswer& answer : sequence.answers) {
      bool right = true;
      for (std::int64_t t = answer.position; t < answer.position + answer.tokens; ++t) {
        const Said& said = said_[static_cast<std::size_t>(row * task_.length() + t)];
        score_.tokens.add(said.right);
        losses_.back() += said.loss;
        right = right && said.right;
      }
      score_.answers.add(right);
      score_.by_position[answer.position].add(right);
      if (answer.distance > 0) score_.by_distance[answer.distance].add(right);
      if (answer.hops > 0) score_.by_hop[answer.hops].add(right);
      all_right = all_right && right;
    }
    score_.sequences.add(all_right);
  }

  const Decoder& model_;
  const Task& task_;
  const TaskEvaluationOptions& options_;
  std::vector<TaskSequence> sequences_;
  std::vector<Said> said_;
  TaskScore score_;
  std::vector<double> losses_;  // of each batch: summed apart, so that ranks can share them
};

}  // namespace

Proportion::Interval Proportion::interval() const {
  if (count == 0) return {};
  constexpr double kZ = 1.959963984540054;  // of the normal distribution, 97.5 %
  const auto n = static_cast<double>(count);
  const double p = share();
  const double centre = p + kZ * kZ / (2 * n);
  const double half = kZ * std::sqrt(p * (1 - p) / n + kZ * kZ / (4 * n * n));
  const double scale = 1 + kZ * kZ / n;
  // Exactly 0 and 1 where rounding would miss them.
  return {right == 0 ? 0.0 : (centre - half) / scale, right == count ? 1.0 : (centre + half) / scale};
}

TaskScore evaluate_task(const Decoder& model, const Task& task, const TaskEvaluationOptions& options) {
  check_model(model, task);
  if (options.sequences < 1 || options.batch < 1) {
    raise<ValueError>("evaluate_task: at least one sequence and a batch of one are required; got ", options.sequences,
                      " and ", options.batch, "; give larger numbers");
  }
  return TaskScoring(model, task, options).run();
}

}  // namespace mixgrad
