#include "nn/training/gradient_buckets.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace mixgrad {

GradientBuckets::GradientBuckets(FlatLayout layout, std::int64_t most_numbers)
    : layout_(std::move(layout)), most_numbers_(most_numbers), last_event_(layout_.offsets.size(), 0) {
  MIXGRAD_ASSERT(most_numbers > 0, "a piece has numbers");
}

std::int64_t GradientBuckets::end_of(std::size_t leaf) const {
  return leaf + 1 < layout_.offsets.size() ? layout_.offsets[leaf + 1] : layout_.total;
}

// Parameters by the event that completes them; where one event completes several, in their own order backwards, as
// backward comes to them.
void GradientBuckets::plan(const Gradients& gradients) {
  std::vector<std::size_t> order(last_event_.size());
  std::iota(order.rbegin(), order.rend(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return last_event_[a] < last_event_[b]; });
  std::int64_t filled = most_numbers_;  // of the last bucket
  for (const std::size_t leaf : order) {
    if (!gradients.arrived(leaf)) continue;  // frozen
    for (std::int64_t begin = layout_.offsets[leaf]; begin < end_of(leaf);) {
      const std::int64_t end = std::min(begin + most_numbers_, end_of(leaf));
      if (filled + (end - begin) > most_numbers_) {
        buckets_.emplace_back();
        filled = 0;
      }
      Bucket& bucket = buckets_.back();
      if (!bucket.parts.empty() && bucket.parts.back().begin == end) {
        bucket.parts.back().begin = begin;
      } else if (!bucket.parts.empty() && bucket.parts.back().end == begin) {
        bucket.parts.back().end = end;
      } else {
        bucket.parts.push_back({begin, end});
      }
      bucket.complete = last_event_[leaf];
      filled += end - begin;
      begin = end;
    }
  }
}

GradientBuckets::Watch::Watch(GradientBuckets& buckets, const Gradients& gradients, Send send)
    : buckets_(buckets), gradients_(gradients), send_(std::move(send)) {
  MIXGRAD_ASSERT(gradients.flat().numel() == buckets.layout_.total, "the layout of the gradients");
}

void GradientBuckets::Watch::gradient(const TapeEvent& event, int input, const Tensor& /*gradient*/) {
  note(event.leaves[static_cast<std::size_t>(input)]);
}

void GradientBuckets::Watch::columns_zeroed(std::int32_t leaf, const Tensor& /*gradient*/) { note(leaf); }

void GradientBuckets::Watch::note(std::int32_t leaf) {
  ++events_;
  std::int64_t* last = leaf < 0 ? nullptr : &buckets_.last_event_[static_cast<std::size_t>(leaf)];
  if (buckets_.buckets_.empty()) {
    if (last != nullptr) *last = events_;
    return;
  }
  MIXGRAD_ASSERT(last == nullptr || events_ <= *last, "every pass runs the same operators");
  send_complete();
}

// A gradient is told of after its operator, so what is complete by this event has been queued.
void GradientBuckets::Watch::send_complete() {
  for (; sent_ < buckets_.buckets_.size() && buckets_.buckets_[sent_].complete <= events_; ++sent_) {
    send_(buckets_.buckets_[sent_].parts);
  }
}

void GradientBuckets::Watch::finish() {
  if (buckets_.buckets_.empty()) {
    buckets_.plan(gradients_);
    buckets_.events_ = events_;
  }
  MIXGRAD_ASSERT(events_ == buckets_.events_, "every pass runs the same operators");
  send_complete();
  MIXGRAD_ASSERT(sent_ == buckets_.buckets_.size(), "every piece is complete at the end of a pass");
}

}  // namespace mixgrad
