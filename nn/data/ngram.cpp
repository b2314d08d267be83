#include "nn/data/ngram.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/system/interrupt.h"

namespace mixgrad {
namespace {

constexpr std::uint32_t kNone = UINT32_MAX;
constexpr std::size_t kPollEvery = std::size_t{1} << 20U;  // symbols

// Numbers the pairs (context, symbol) in the order in which they come: open addressing in a power of two, half full.
class PairNumbers {
 public:
  PairNumbers() : slots_(std::size_t{1} << 12U) {}

  std::uint32_t size() const { return count_; }
  std::uint32_t find(std::uint32_t context, std::int32_t symbol) const {
    return slots_[slot_of(key_of(context, symbol))].number;
  }
  std::uint32_t insert(std::uint32_t context, std::int32_t symbol) {
    const std::uint64_t key = key_of(context, symbol);
    Slot& slot = slots_[slot_of(key)];
    if (slot.number != kNone) return slot.number;
    slot = {key, count_};
    const std::uint32_t number = count_++;
    if (2 * static_cast<std::size_t>(count_) > slots_.size()) grow();
    return number;
  }

 private:
  struct Slot {
    std::uint64_t key = 0;
    std::uint32_t number = kNone;
  };

  static std::uint64_t key_of(std::uint32_t context, std::int32_t symbol) {
    return static_cast<std::uint64_t>(context) << 32U | static_cast<std::uint32_t>(symbol);
  }
  std::size_t slot_of(std::uint64_t key) const {
    std::uint64_t mixed = key * 0x9e3779b97f4a7c15ULL;
    mixed ^= mixed >> 29U;
    std::size_t at = mixed & (slots_.size() - 1);
    while (slots_[at].number != kNone && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
    return at;
  }
  void grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.number != kNone) slots_[slot_of(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;
  std::uint32_t count_ = 0;
};

void poll_at(std::size_t i) {
  if (i % kPollEvery == 0) check_interrupt();
}

// Of one order n. Before it, `train` holds at i the number of the (n-1)-gram that ends at i - 1, and afterwards that of
// the n-gram that ends at i, moved on by one place; `valid` likewise, with kNone for one that the training part lacks.
// `probability` holds p_{n-1} of each symbol before, and p_n afterwards.
class Order {
 public:
  Order(std::span<const std::int32_t> train, std::span<const std::int32_t> valid, std::size_t contexts)
      : train_(train), valid_(valid), followed_(contexts), kinds_(contexts) {}

  std::size_t grams() const { return numbers_.size(); }

  void count(std::vector<std::uint32_t>& contexts) {
    std::uint32_t before = kNone;  // the n-gram that ends at the symbol before
    for (std::size_t i = 0; i < train_.size(); ++i) {
      poll_at(i);
      const std::uint32_t context = contexts[i];
      contexts[i] = before;
      if (context == kNone) continue;
      before = numbers_.insert(context, train_[i]);
      ++followed_[context];
      if (before == counts_.size()) {
        counts_.push_back(0);
        ++kinds_[context];
      }
      ++counts_[before];
    }
  }

  void predict(std::vector<std::uint32_t>& contexts, std::vector<double>& probability) const {
    std::uint32_t before = kNone;
    for (std::size_t i = 0; i < valid_.size(); ++i) {
      poll_at(i);
      const std::uint32_t context = contexts[i];
      contexts[i] = before;
      before = context == kNone ? kNone : numbers_.find(context, valid_[i]);
      if (context == kNone || followed_[context] == 0) continue;
      const double seen = before == kNone ? 0 : counts_[before];
      const double kinds = kinds_[context];
      probability[i] = (seen + kinds * probability[i]) / (followed_[context] + kinds);
    }
  }

 private:
  std::span<const std::int32_t> train_, valid_;
  PairNumbers numbers_;
  std::vector<std::uint32_t> followed_, kinds_;  // c(h) and t(h), by the number of h
  std::vector<std::uint32_t> counts_;            // c(hw), by the number of hw
};

double mean_loss(const std::vector<double>& probability) {
  double sum = 0;
  for (const double p : probability) sum -= std::log(p);
  return sum / static_cast<double>(probability.size());
}

}  // namespace

std::vector<double> ngram_losses(std::span<const std::int32_t> train, std::span<const std::int32_t> valid,
                                 const NgramOptions& options) {
  if (train.empty() || valid.empty() || train.size() >= kNone) {
    raise<ValueError>("n-grams: a training and a validation part of 1 to ", kNone - 1, " symbols are required; got ",
                      train.size(), " and ", valid.size(), "; choose other parts");
  }
  MIXGRAD_ASSERT(options.symbols > 0 && options.longest > 0, "symbols and orders are counted from 1");
  std::vector<double> losses;
  std::vector<double> probability(valid.size(), 1.0 / static_cast<double>(options.symbols));
  std::vector<std::uint32_t> of_train(train.size(), 0), of_valid(valid.size(), 0);  // the empty context has number 0
  std::size_t contexts = 1;
  for (int n = 1; n <= options.longest; ++n) {
    Order order(train, valid, contexts);
    order.count(of_train);
    order.predict(of_valid, probability);
    losses.push_back(mean_loss(probability));
    contexts = order.grams();
  }
  return losses;
}

std::int64_t count_symbols(std::span<const std::int32_t> train, std::span<const std::int32_t> valid) {
  std::vector<bool> seen;
  std::int64_t count = 0;
  for (const auto part : {train, valid}) {
    for (const std::int32_t id : part) {
      MIXGRAD_ASSERT(id >= 0, "ids are not negative");
      const auto at = static_cast<std::size_t>(id);
      if (at >= seen.size()) seen.resize(std::max(at + 1, 2 * seen.size()));
      if (!seen[at]) ++count;
      seen[at] = true;
    }
  }
  return count;
}

}  // namespace mixgrad
