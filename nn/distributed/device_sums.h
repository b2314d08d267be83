// DeviceSums: sums of tensors on CUDA devices over the ranks of a job, by NCCL; each process has one device. A sum runs
// in a queue (a CUDA stream) of its own, while the device runs the kernels that are launched after it, and it may be
// part of a captured graph.
//
//   DeviceSums& sums = ranks.on_device(device);       // Communicator: all ranks together
//   kernels_that_write(a, b);
//   sums.add_up(parts, DType::f32);                   // {{a}, {b}}, in one piece, after those kernels
//   other_kernels();                                  // at the same time
//   sums.join();
//   kernels_that_read(a, b);
//   sums.wait("the step");                            // RankLost, naming the rank, where one is gone
//
// The same number of ranks gives the same bits in every repetition: no choice of NCCL depends on timing. The host never
// waits without a limit: it polls, and checks the messages of other ranks. When the time limit has passed, it names the
// ranks that are missing and ends what the device still waits for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace mixgrad {

class Communicator;
struct SharedTensor;

class DeviceSums {
 public:
  virtual ~DeviceSums() = default;
  DeviceSums(const DeviceSums&) = delete;
  DeviceSums& operator=(const DeviceSums&) = delete;

  Device device() const { return device_; }
  virtual std::string library() const = 0;  // "NCCL 2.28.3"

  // Takes the memory that add_up() needs to send so many numbers as bf16; to be called before it. Waits for the device.
  virtual void reserve(std::int64_t numbers, DType sent) = 0;
  // What is to be summed: a tensor [n] of f32 or f64, and the rank that gets the sums, or all.
  static constexpr int kAll = -1;
  struct Summand {
    Tensor values;
    int owner = kAll;
  };
  // Appends `values`, numbers from `begin` on of a tensor with these shares, cut so that each piece has one owner; with
  // no shares it is one piece for all.
  static void divide(const Tensor& values, std::int64_t begin, std::span<const std::int64_t> shares,
                     std::vector<Summand>& pieces);
  // Queues the sums in place; at other ranks than the owner what is then found there has no meaning. `sent` bf16, of
  // f32 alone: the numbers are rounded to bf16 and sent, and NCCL rounds every sum of two to bf16.
  virtual void add_up(std::span<const Summand> parts, DType sent) = 0;
  // As Communicator::gather_shares(): queued after what has been queued on the device so far; what is queued on it from
  // now on runs afterwards.
  virtual void gather_shares(std::span<const SharedTensor> shared) = 0;
  // What is queued on the device from now on runs after these sums.
  virtual void join() = 0;

  // Waits until the device has done everything that was queued on it. `where` names it in the error, as below.
  virtual void wait(const std::string& where) = 0;
  // Numbered marks, from 0: set_mark() notes what has been queued so far, wait_for_mark() waits for that alone.
  virtual void set_mark(std::size_t mark) = 0;
  virtual void wait_for_mark(std::size_t mark, const std::string& where) = 0;

  // Ends the sums that wait for other ranks. Nothing can be summed afterwards, and what was queued has no result.
  virtual void abandon() noexcept = 0;

 protected:
  explicit DeviceSums(Device device) : device_(device) {}

 private:
  Device device_;
};

// The version of NCCL with which this library was built, "2.28.3"; empty: it was built without.
std::string nccl_version();

// By all ranks of the job together. DeviceError when two have the same device, and in builds without NCCL; IoError when
// NCCL's library is not found or fails.
std::unique_ptr<DeviceSums> join_devices(Communicator& ranks, Device device);

}  // namespace mixgrad
