// GradientBuckets: the pieces in which the flat gradient buffer is summed over ranks, each as soon as backward has
// written the last of its gradients, while it still computes the others.
//
//   GradientBuckets buckets(FlatLayout(parameters.shapes()), bucket_numbers);
//   {
//     GradientBuckets::Watch watch(buckets, gradients, [&](const auto& parts) { sum_over_ranks(parts); });
//     std::move(tape).backward(loss, gradients);
//     watch.finish();
//   }
//
// The order in which gradients are complete is learnt in the first backward pass, after which all pieces are sent in
// that order; from the second on each is sent when it is complete. Every pass must run the same operators. A gradient
// that several operators add to (tied embeddings) is complete after the last of them. With several micro-batches the
// last one is watched.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "autograd/gradients.h"
#include "autograd/tape_observer.h"

namespace mixgrad {

class GradientBuckets {
 public:
  // A piece has at most so many numbers; the gradients of one parameter may fill several.
  GradientBuckets(FlatLayout layout, std::int64_t most_numbers);

  std::int64_t most_numbers() const { return most_numbers_; }
  // Pieces after the first pass; 0 before.
  std::size_t size() const { return buckets_.size(); }

  // Numbers of the flat buffer, the gaps between parameters included.
  struct Part {
    std::int64_t begin, end;
  };
  // `parts` are to be summed in one piece.
  using Send = std::function<void(std::span<const Part> parts)>;

  // Watches one backward pass into `gradients`, whose layout is that of the buckets.
  class Watch final : public TapeObserver {
   public:
    Watch(GradientBuckets& buckets, const Gradients& gradients, Send send);
    void output(const TapeEvent&, int, const Tensor&) override {}
    void gradient(const TapeEvent& event, int input, const Tensor& gradient) override;
    void columns_zeroed(std::int32_t leaf, const Tensor& gradient) override;
    void finish();  // after the pass: sends what has not been sent

   private:
    void note(std::int32_t leaf);  // -1: of what is no leaf
    void send_complete();

    GradientBuckets& buckets_;
    const Gradients& gradients_;
    Send send_;
    std::int64_t events_ = 0;
    std::size_t sent_ = 0;  // buckets
  };

 private:
  struct Bucket {
    std::vector<Part> parts;
    std::int64_t complete = 0;  // after so many events of a pass
  };
  void plan(const Gradients& gradients);
  std::int64_t end_of(std::size_t leaf) const;

  FlatLayout layout_;
  std::int64_t most_numbers_;
  std::vector<std::int64_t> last_event_;  // of each leaf, in the first pass
  std::int64_t events_ = 0;               // of a pass
  std::vector<Bucket> buckets_;           // in the order in which they are complete
};

}  // namespace mixgrad
