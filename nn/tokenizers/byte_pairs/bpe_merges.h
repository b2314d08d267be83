// Byte-pair encoding of one word: which pairs of tokens merge, and the merging.
//
//   BpeMerges merges;
//   merges.set('a', 'b', {.rank = 0, .id = 256});
//   BpeMerger(merges).merge(symbols);  // {'a','b','a'} becomes {256,'a'}
//
// Of all adjacent pairs the one of the lowest rank merges first, of equal ranks the leftmost one. A word of n symbols
// takes n log n.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mixgrad {

struct BpeMerge {
  std::uint32_t rank = 0;  // the order of the merges
  std::int32_t id = 0;     // what the pair becomes
};

// A map from a pair of ids (>= 0) to its merge.
class BpeMerges {
 public:
  // The last merge that is set for a pair counts.
  void set(std::int32_t left, std::int32_t right, BpeMerge merge);
  const BpeMerge* find(std::int32_t left, std::int32_t right) const {  // nullptr: the pair does not merge
    if (slots_.empty()) return nullptr;
    const std::uint64_t key = key_of(left, right);
    for (std::size_t at = slot_of(key);; at = (at + 1) & mask_) {
      if (slots_[at].key == key) return &slots_[at].merge;
      if (slots_[at].key == kEmpty) return nullptr;
    }
  }
  std::size_t size() const { return size_; }

  template <class Visit>
  void for_each(const Visit& visit) const {  // visit(left, right, merge), in no particular order
    for (const Slot& slot : slots_) {
      if (slot.key == kEmpty) continue;
      visit(static_cast<std::int32_t>(slot.key >> 32U), static_cast<std::int32_t>(slot.key & 0xffffffffU), slot.merge);
    }
  }

 private:
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  struct Slot {
    std::uint64_t key = kEmpty;
    BpeMerge merge;
  };
  static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(left) << 32U | static_cast<std::uint32_t>(right);
  }
  std::size_t slot_of(std::uint64_t key) const {
    return static_cast<std::size_t>((key * 0x9e3779b97f4a7c15U) >> 32U) & mask_;
  }
  void grow();

  std::vector<Slot> slots_;  // open addressing, at most half full; a power of two
  std::size_t mask_ = 0, size_ = 0;
};

// Merges words one after the other, in memory that it keeps. For one thread.
class BpeMerger {
 public:
  explicit BpeMerger(const BpeMerges& merges) : merges_(merges) {}

  // Replaces the symbols by what is left when no pair merges any more. ValueError: 2^31 symbols or more.
  void merge(std::vector<std::int32_t>& symbols);

 private:
  struct Link {  // a symbol of the word
    std::int32_t id;
    std::int32_t previous, next;  // -1: none
  };
  struct Candidate {  // the pair that begins at `position`
    std::uint32_t rank;
    std::int32_t position;
    std::int32_t id;
  };
  // Puts the later candidate first, as the heaps of the standard library want it.
  static bool later(const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  }
  void consider(std::int32_t position);

  const BpeMerges& merges_;
  std::vector<Link> links_;
  std::vector<Candidate> heap_;
};

// Which neighbours stand next to each other inside a token. Between two symbols that never do, no merge ever happens:
// a long word may be cut there and its parts merged one by one, with the same result.
class BpeCuts {
 public:
  explicit BpeCuts(const BpeMerges& merges);
  bool may_merge_across(std::int32_t left, std::int32_t right) const {
    return everywhere_ || inside_.find(left, right) != nullptr;
  }

 private:
  bool everywhere_ = false;  // the merges do not tell
  BpeMerges inside_;
};

}  // namespace mixgrad
