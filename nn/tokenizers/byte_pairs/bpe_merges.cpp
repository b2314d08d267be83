#include "nn/tokenizers/byte_pairs/bpe_merges.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "core/error.h"

namespace mixgrad {

void BpeMerges::set(std::int32_t left, std::int32_t right, BpeMerge merge) {
  MIXGRAD_ASSERT(left >= 0 && right >= 0, "ids of a merge are not negative");
  if (2 * (size_ + 1) > slots_.size()) grow();
  const std::uint64_t key = key_of(left, right);
  std::size_t at = slot_of(key);
  while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & mask_;
  if (slots_[at].key == kEmpty) ++size_;
  slots_[at] = {key, merge};
}

void BpeMerges::grow() {
  std::vector<Slot> old = std::move(slots_);
  slots_.assign(std::max<std::size_t>(16, 2 * old.size()), {});
  mask_ = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.key == kEmpty) continue;
    std::size_t at = slot_of(slot.key);
    while (slots_[at].key != kEmpty) at = (at + 1) & mask_;
    slots_[at] = slot;
  }
}

void BpeMerger::consider(std::int32_t position) {
  if (position < 0) return;
  const Link& link = links_[static_cast<std::size_t>(position)];
  if (link.next < 0) return;
  const BpeMerge* merge = merges_.find(link.id, links_[static_cast<std::size_t>(link.next)].id);
  if (merge == nullptr) return;
  heap_.push_back({merge->rank, position, merge->id});
  std::push_heap(heap_.begin(), heap_.end(), later);
}

void BpeMerger::merge(std::vector<std::int32_t>& symbols) {
  constexpr std::int32_t kGone = -1;
  if (symbols.size() < 2) return;
  if (symbols.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    raise<ValueError>("tokenizer: a word must have fewer than 2147483648 symbols; one has ", symbols.size(),
                      "; split the text into smaller files");
  }
  const auto count = static_cast<std::int32_t>(symbols.size());
  links_.clear();
  heap_.clear();
  for (std::int32_t i = 0; i < count; ++i) {
    links_.push_back({symbols[static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1});
    if (i == 0) continue;
    const BpeMerge* merge = merges_.find(links_[static_cast<std::size_t>(i) - 1].id, links_.back().id);
    if (merge != nullptr) heap_.push_back({merge->rank, i - 1, merge->id});
  }
  std::make_heap(heap_.begin(), heap_.end(), later);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const Candidate top = heap_.back();
    heap_.pop_back();
    Link& left = links_[static_cast<std::size_t>(top.position)];
    if (left.id == kGone || left.next < 0) continue;
    Link& right = links_[static_cast<std::size_t>(left.next)];
    // The pair may have changed since. Where two pairs become the same token, `tokenizers` merges the one that stands
    // there now with the rank of the other; so does this.
    const BpeMerge* now = merges_.find(left.id, right.id);
    if (now == nullptr || now->id != top.id) continue;
    left.id = top.id;
    left.next = right.next;
    right.id = kGone;
    if (left.next >= 0) links_[static_cast<std::size_t>(left.next)].previous = top.position;
    consider(left.previous);
    consider(top.position);
  }
  symbols.clear();
  for (std::int32_t i = 0; i >= 0; i = links_[static_cast<std::size_t>(i)].next) {
    symbols.push_back(links_[static_cast<std::size_t>(i)].id);
  }
}

// The first and the last symbol of each token that a merge makes, from those of its parts. A token that several merges
// make has them only when all agree.
BpeCuts::BpeCuts(const BpeMerges& merges) {
  struct Ends {
    std::int32_t first, last;
  };
  struct Known {
    std::int32_t left, right, id;
  };
  std::vector<Known> known;
  std::unordered_map<std::int32_t, bool> made;
  merges.for_each([&](std::int32_t left, std::int32_t right, const BpeMerge& merge) {
    known.push_back({left, right, merge.id});
    made.emplace(merge.id, true);
  });
  std::unordered_map<std::int32_t, Ends> ends;
  const auto ends_of = [&](std::int32_t id) -> const Ends* {
    const auto found = ends.find(id);
    if (found != ends.end()) return &found->second;
    if (made.count(id) != 0) return nullptr;  // a later pass knows
    return &ends.emplace(id, Ends{id, id}).first->second;
  };
  // Each pass resolves at least one more token; a merge of its own result never resolves.
  for (std::size_t resolved = 1; resolved > 0;) {
    resolved = 0;
    for (const auto& [left, right, id] : known) {
      if (ends.count(id) != 0) continue;
      const Ends* a = ends_of(left);
      if (a == nullptr) continue;
      const std::int32_t first = a->first;
      const Ends* b = ends_of(right);
      if (b == nullptr) continue;
      ends.emplace(id, Ends{first, b->last});
      ++resolved;
    }
  }
  for (const auto& [left, right, id] : known) {
    const auto a = ends.find(left);
    const auto b = ends.find(right);
    const auto c = ends.find(id);
    if (a == ends.end() || b == ends.end() || c == ends.end() || c->second.first != a->second.first ||
        c->second.last != b->second.last) {
      everywhere_ = true;
      return;
    }
    inside_.set(a->second.last, b->second.first, {});
  }
}

}  // namespace mixgrad
