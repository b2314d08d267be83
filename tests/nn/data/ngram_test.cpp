// nn/data/ngram: counts against the formula in plain loops.
#include "nn/data/ngram.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "core/error.h"
#include "core/rng.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using Symbols = std::vector<std::int32_t>;

// p_n of the symbol at `at` of `valid`, by looking through the whole training part for each order.
double oracle_probability(const Symbols& train, const Symbols& valid, std::size_t at, int n, std::int64_t symbols) {
  if (n == 0) return 1.0 / static_cast<double>(symbols);
  const double lower = oracle_probability(train, valid, at, n - 1, symbols);
  const auto length = static_cast<std::size_t>(n - 1);
  if (at < length) return lower;
  double followed = 0, seen = 0;
  std::set<std::int32_t> kinds;
  for (std::size_t i = length; i < train.size(); ++i) {
    bool same = true;
    for (std::size_t k = 1; k <= length; ++k) same = same && train[i - k] == valid[at - k];
    if (!same) continue;
    followed += 1;
    seen += train[i] == valid[at] ? 1 : 0;
    kinds.insert(train[i]);
  }
  if (followed == 0) return lower;
  const auto t = static_cast<double>(kinds.size());
  return (seen + t * lower) / (followed + t);
}

TEST_CASE("n-grams: every order is the formula, on random symbols and on symbols with large ids") {
  Rng rng(3);
  for (const std::int64_t kinds : {1, 2, 5, 40}) {
    const auto draw = [&](std::size_t count) {
      Symbols symbols(count);
      // Powers make some rare; the offset makes ids large.
      for (auto& s : symbols)
        s = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(kinds)) * rng.below(2) + 70'000);
      return symbols;
    };
    for (const std::size_t size : {1U, 2U, 7U, 300U}) {
      const Symbols train = draw(size);
      const Symbols valid = draw(size / 2 + 1);
      const std::int64_t symbols = count_symbols(train, valid);
      const std::vector<double> losses = ngram_losses(train, valid, {.symbols = symbols, .longest = 6});
      REQUIRE(losses.size() == 6);
      for (int n = 1; n <= 6; ++n) {
        double sum = 0;
        for (std::size_t i = 0; i < valid.size(); ++i) sum -= std::log(oracle_probability(train, valid, i, n, symbols));
        const double want = sum / static_cast<double>(valid.size());
        CHECK(std::abs(losses[static_cast<std::size_t>(n - 1)] - want) <= 1e-12 * (1 + want));
      }
    }
  }
}

TEST_CASE("n-grams: one symbol is certain, symbols are counted over both parts, an empty part is refused") {
  CHECK(ngram_losses(Symbols{4, 4, 4}, Symbols{4, 4}, {.symbols = 1})[5] == 0);
  CHECK(count_symbols(Symbols{1, 5, 1}, Symbols{5, 900}) == 3);
  CHECK(count_symbols(Symbols{}, Symbols{}) == 0);
  const std::string error = test::error_of<ValueError>([] { ngram_losses(Symbols{}, Symbols{1}, {.symbols = 1}); });
  CHECK(test::has(error,
                  "n-grams: a training and a validation part of 1 to 4294967294 symbols are required; got 0 and 1"));
}

}  // namespace
}  // namespace mixgrad
