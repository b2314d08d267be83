// Communicator: what the processes of one job tell each other. Every process calls the same functions in the same
// order; each call returns when all ranks have taken part.
//
//   const std::unique_ptr<Communicator> ranks = join_job(read_launch(process_environment()));
//   ranks->sum(gradients.flat());                  // over the ranks, the same bits on each
//   if (ranks->rank() == 0) save();
//   ranks->meet("after the checkpoint");
//
// A rank that does not take part within the time limit, or that leaves with an error, ends the call at the others with
// RankLost, which names it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"
#include "nn/distributed/launcher.h"

namespace mixgrad {

// Another process of the job is gone, does not answer, or cannot be reached.
struct RankLost : IoError {
  using IoError::IoError;
};

// How a sum of tensors is formed.
//   any   the order that the transport finds quickest; the same bits in every repetition with as many ranks
//   rank  ((rank 0 + rank 1) + rank 2) + ...: the bits of one process that adds the same numbers in that order
enum class ReduceOrder : std::uint8_t { any, rank };
inline constexpr std::size_t kBucketBytes = std::size_t{25} << 20U;
struct ReduceOptions {
  ReduceOrder order = ReduceOrder::any;
  DType dtype = DType::f32;                 // bf16: numbers are rounded to it, sent, and added up in f32
  std::size_t bucket_bytes = kBucketBytes;  // of what is sent in one piece
};

// A tensor [n], contiguous, of which rank r has the numbers from begins[r] to begins[r + 1]; begins [ranks + 1] ends in
// n.
struct SharedTensor {
  Tensor values;
  std::span<const std::int64_t> begins;
};

class DeviceSums;

class Communicator {
 public:
  virtual ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool alone() const { return size_ == 1; }
  bool leads() const { return rank_ == 0; }   // the rank that writes files and messages
  virtual std::string transport() const = 0;  // "MPI (Open MPI v4.1.4)", "TCP"

  // values [n] f32 or f64, contiguous, becomes the sum over the ranks. With options.dtype bf16 only f32. On the host,
  // or on a CUDA device in any order.
  void sum(const Tensor& values, const ReduceOptions& options = {});
  // The same sums, each at one rank: rank r gets those of its share, and what the others find there has no meaning.
  // Half the bytes of sum(). On the host they are in rank order.
  void sum_at_owners(const SharedTensor& shared, const ReduceOptions& options = {});
  // total [n] becomes part of rank 0 + part of rank 1 + ..., in this order; with `add`, total + that. Types as sum().
  // With `begins`, as sum_at_owners().
  enum class Into : std::uint8_t { write, add };
  void sum_in_order(const Tensor& part, const Tensor& total, Into into, std::size_t bucket_bytes = kBucketBytes,
                    std::span<const std::int64_t> begins = {});

  // Exchanges shares: each rank gets the numbers of the others. f32, f64 or bf16, on the host, where pieces of
  // `bucket_bytes` are sent, or on a CUDA device, where it is queued. `what` is for the message, should a rank not
  // come.
  void gather_shares(std::initializer_list<SharedTensor> shared, std::string_view what = "the exchange of shares",
                     std::size_t bucket_bytes = kBucketBytes);
  // For rank 0 alone, of f32 or f64: `own` [begins[r + 1] - begins[r]] is the share of this rank, and `whole` [n] of
  // rank 0 gets all of them; on other ranks it may be undefined. On the host.
  void gather_at_leader(const Tensor& own, const Tensor& whole, std::span<const std::int64_t> begins,
                        std::size_t bucket_bytes = kBucketBytes);

  // As many numbers from each rank, all of them in rank order [size n].
  std::vector<double> gather(std::span<const double> numbers);
  std::vector<std::string> gather(const std::string& text);  // a text of each rank, in rank order
  std::string from_leader(const std::string& text);          // that of rank 0
  int largest(int number);                                   // over the ranks
  // Returns when every rank has called it. `where` is for the message, should one not come.
  void meet(const std::string& where);

  // Sums on this rank's CUDA device (device_sums.h), for a job of several ranks. The first call joins the devices, all
  // ranks together; each has a device of its own.
  DeviceSums& on_device(Device device);

  // For waits other than those in the calls above, which poll as well; `where` says what is being waited for.
  // RankLost when another rank has left with an error, or has waited longer than timeout().
  virtual void check_others(const std::string& /*where*/) {}
  // For a rank that has waited longer than timeout(): it tells all others, and RankLost names those that do not answer
  // that they are waiting, too.
  [[noreturn]] virtual void report_missing(const std::string& where);
  virtual std::chrono::duration<double> timeout() const { return std::chrono::duration<double>::max(); }

  // Seconds that this rank has spent in sums and gather_shares(), waiting for other ranks included.
  double seconds_in_sums() const { return seconds_; }

  // This process ends with an error: the others, whatever they wait for, get RankLost with this reason.
  // Returns whether rank 0 left with the same words at the same time, so that this rank need not say them again.
  virtual bool leave(const std::string& reason) noexcept = 0;

 protected:
  Communicator(int rank, int size);

  // `own` to every rank; `all` gets what each rank gave, one after the other: rank r's has counts[r] bytes.
  virtual void gather_bytes(std::span<const std::byte> own, std::span<std::byte> all,
                            std::span<const std::int64_t> counts) = 0;
  // sent_counts[r] bytes of `sent` to each rank r; `received` gets received_counts[r] of each rank, in rank order.
  virtual void exchange_bytes(std::span<const std::byte> sent, std::span<const std::int64_t> sent_counts,
                              std::span<std::byte> received, std::span<const std::int64_t> received_counts) = 0;
  // In any order, in place; f32 or f64.
  virtual void sum_any(const Tensor& values) = 0;

  // The same in rank order, of gather_bytes and exchange_bytes: the sum_any() of a transport that has none of its own.
  void sum_in_rank_order(const Tensor& values);

  // In place of those that on_device() joins; once, before the first use.
  void use_device_sums(std::unique_ptr<DeviceSums> sums);
  // Ends what the device still waits for, before RankLost is thrown: nothing more can be summed on it.
  void abandon_devices() noexcept;

  const std::string& doing() const { return doing_; }  // what is being waited for

 private:
  // Who adds up which numbers of a bucket, and whether the others get the sums.
  struct Division {
    std::vector<std::int64_t> begins;  // [ranks + 1], of the bucket
    bool to_all = true;
  };
  Division division(std::int64_t begin, std::int64_t end, std::span<const std::int64_t> owners) const;

  void sum_on_device(const Tensor& values, const ReduceOptions& options, std::span<const std::int64_t> owners);
  void sum_bucket(const Tensor& part, const Tensor& total, Into into, DType sent, const Division& division);
  template <class T, class Sent>
  void sum_bucket_as(const Tensor& part, const Tensor& total, Into into, const Division& division);
  void gather_in_pieces(const std::byte* own, std::byte* all, std::size_t number_bytes,
                        std::span<const std::int64_t> begins, std::size_t bucket_bytes);

  int rank_, size_;
  double seconds_ = 0;
  std::string doing_;
  std::vector<std::byte> sent_, received_;  // of a piece, kept from call to call
  std::unique_ptr<DeviceSums> device_sums_;
};

struct JoinOptions {
  std::chrono::duration<double> timeout{300};  // of a call that waits for other ranks
  std::filesystem::path folder = {};           // of the run, in which processes that TCP connects may meet
};

// The communicator of this job; of one process, without any library, where launch.size is 1. ValueError when this build
// has no transport for the launcher, or there is no place to meet, with what is required; RankLost when the others
// cannot be reached.
std::unique_ptr<Communicator> join_job(const Launch& launch, const JoinOptions& options = {});
// Of one process, whatever the environment says.
std::unique_ptr<Communicator> make_single_process();

}  // namespace mixgrad
