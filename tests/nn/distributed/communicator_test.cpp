// What a communicator says is being waited for. Its sums are tested under mpirun (tests/distributed).
#include "nn/distributed/communicator.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace mixgrad::test {
namespace {

// Two ranks that give the same; what each call of the transport is for is noted.
class NotingTransport final : public Communicator {
 public:
  NotingTransport() : Communicator(0, 2) {}
  std::string transport() const override { return "none"; }
  bool leave(const std::string&) noexcept override { return false; }

  // What the calls since the last one were for.
  std::vector<std::string> noted() {
    std::vector<std::string> all;
    std::swap(all, noted_);
    return all;
  }
  std::string now() const { return doing(); }
  bool fails = false;

 protected:
  void gather_bytes(std::span<const std::byte> own, std::span<std::byte> all, std::span<const std::int64_t>) override {
    note();
    for (std::size_t at = 0; at + own.size() <= all.size() && !own.empty(); at += own.size()) {
      std::copy(own.begin(), own.end(), all.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
  void exchange_bytes(std::span<const std::byte>, std::span<const std::int64_t>, std::span<std::byte> received,
                      std::span<const std::int64_t>) override {
    note();
    std::fill(received.begin(), received.end(), std::byte{0});
  }
  void sum_any(const Tensor&) override { note(); }

 private:
  void note() {
    noted_.push_back(doing());
    if (fails) raise<RankLost>("a rank is gone");
  }
  std::vector<std::string> noted_;
};

using Notes = std::vector<std::string>;

TEST_CASE("communicator: each wait says what it is for, and none says what was done before") {
  NotingTransport ranks;
  const Tensor values = Tensor::zeros({4}, DType::f32);
  const std::vector<std::int64_t> begins{0, 2, 4};
  const double number = 1;
  const auto afterwards = [&] {
    CHECK(ranks.now().empty());
    CHECK(ranks.gather(std::span(&number, 1)) == std::vector<double>{1, 1});
    CHECK(ranks.noted() == Notes{"numbers of each rank"});
    CHECK(ranks.largest(3) == 3);
    CHECK(ranks.noted() == Notes{"numbers of each rank"});
  };
  ranks.sum(values);
  CHECK(ranks.noted() == Notes{"the sum of gradients"});
  afterwards();
  ranks.sum(values, {.order = ReduceOrder::rank});
  CHECK(ranks.noted() == Notes{"the sum of gradients", "the sum of gradients"});
  afterwards();
  ranks.sum_in_order(values, values.clone(), Communicator::Into::write);
  CHECK(ranks.noted() == Notes{"the sum of gradients", "the sum of gradients"});
  afterwards();
  ranks.sum_at_owners({values, begins});
  CHECK(ranks.noted() == Notes{"the sum of gradients"});
  afterwards();
  ranks.gather_shares({{values, begins}}, "the exchange of weights");
  CHECK(ranks.noted() == Notes{"the exchange of weights"});
  afterwards();
  ranks.gather_shares({{values, begins}}, "the exchange of weights", 8);  // a number of each rank at a time
  CHECK(ranks.noted() == Notes{"the exchange of weights", "the exchange of weights"});
  ranks.gather_at_leader(values.slice(0, 2), values.clone(), begins);
  CHECK(ranks.noted() == Notes{"the gathering of the optimizer's state"});
  afterwards();
  CHECK(ranks.from_leader("text") == "text");
  CHECK(ranks.noted() == Notes{"a text of each rank", "a text of each rank"});
  afterwards();
  ranks.meet("the checkpoint of step 3");
  CHECK(ranks.noted() == Notes{"the checkpoint of step 3"});
  afterwards();
}

TEST_CASE("communicator: a wait that fails is over, too") {
  NotingTransport ranks;
  ranks.fails = true;
  CHECK_THROWS_AS(ranks.sum(Tensor::zeros({4}, DType::f32)), RankLost);
  CHECK(ranks.now().empty());
  CHECK_THROWS_AS(ranks.meet("the end"), RankLost);
  CHECK(ranks.now().empty());
}

}  // namespace
}  // namespace mixgrad::test
