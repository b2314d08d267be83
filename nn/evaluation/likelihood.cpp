#include "nn/evaluation/likelihood.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/system/interrupt.h"
#include "nn/evaluation/target_losses.h"
#include "nn/modules/finite_values.h"

namespace mixgrad {
namespace {

// A sequence that one call of the model reads, with what it predicts for one query.
struct Piece {
  std::size_t query = 0;
  std::vector<std::int32_t> tokens = {}, targets = {};  // of equal length; a target of -1 is none
};

// The pieces of a query: one, or windows that overlap.
void add_pieces(const Decoder& model, const LikelihoodQuery& query, std::size_t number, std::vector<Piece>& pieces) {
  MIXGRAD_ASSERT(!query.context.empty() && !query.continuation.empty(), "a context and a continuation");
  std::vector<std::int32_t> all = query.context;
  all.insert(all.end(), query.continuation.begin(), query.continuation.end());
  const auto context = static_cast<std::size_t>(model.config().context);
  const bool windowed = model.config().positions == Positions::learned && all.size() - 1 > context;
  const std::size_t length = windowed ? context : all.size() - 1;
  const std::size_t stride = windowed ? std::max<std::size_t>(context / 2, 1) : length;
  std::size_t predicted = query.context.size();  // all[predicted] is the next that no piece has predicted
  for (std::size_t begin = 0; predicted < all.size(); begin += stride) {
    const std::size_t end = std::min(begin + length, all.size() - 1);
    if (end + 1 <= predicted) continue;
    Piece piece{.query = number};
    for (std::size_t i = begin; i < end; ++i) {
      piece.tokens.push_back(all[i]);
      piece.targets.push_back(i + 1 >= predicted ? all[i + 1] : -1);
    }
    predicted = end + 1;
    pieces.push_back(std::move(piece));
  }
}

void score(const Decoder& model, const std::vector<Piece>& pieces, std::size_t first, std::size_t count,
           std::vector<Likelihood>& results) {
  const std::size_t length = pieces[first].tokens.size();  // the longest comes first
  std::vector<std::int32_t> tokens(count * length, 0);
  std::vector<std::int32_t> targets(count * length, -1);
  for (std::size_t b = 0; b < count; ++b) {
    const Piece& piece = pieces[first + b];
    const auto at = static_cast<std::ptrdiff_t>(b * length);
    std::copy(piece.tokens.begin(), piece.tokens.end(), tokens.begin() + at);
    std::copy(piece.targets.begin(), piece.targets.end(), targets.begin() + at);
  }
  const std::int64_t context = model.config().context;
  const auto steps = static_cast<std::int64_t>(length);
  const Tensor input = Tensor::from_i32(tokens, {static_cast<std::int64_t>(count), steps});
  const std::vector<TargetLoss> losses = target_losses(model.logits(input, steps > context ? context : 0), targets);
  for (std::size_t i = 0; i < losses.size(); ++i) {
    if (targets[i] < 0) continue;
    if (!std::isfinite(losses[i].loss)) {
      raise_not_finite("likelihood", "the loss", losses[i].loss, model.parameters());
    }
    Likelihood& result = results[pieces[first + i / length].query];
    result.log_probability -= losses[i].loss;
    result.likeliest = result.likeliest && losses[i].likeliest;
    ++result.tokens;
  }
}

}  // namespace

std::vector<Likelihood> likelihoods(const Decoder& model, const std::vector<LikelihoodQuery>& queries,
                                    std::int64_t batch) {
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < queries.size(); ++i) add_pieces(model, queries[i], i, pieces);
  // Pieces of similar length side by side: little padding.
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const Piece& a, const Piece& b) { return a.tokens.size() > b.tokens.size(); });
  std::vector<Likelihood> results(queries.size());
  for (std::size_t first = 0; first < pieces.size();) {
    check_interrupt();
    const auto length = static_cast<std::int64_t>(pieces[first].tokens.size());
    const auto most = static_cast<std::size_t>(rows_of_logits(batch, length, model.config().vocab_size));
    const std::size_t count = std::min(most, pieces.size() - first);
    score(model, pieces, first, count, results);
    first += count;
  }
  return results;
}

}  // namespace mixgrad
