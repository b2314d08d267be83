// DeviceSums: sums over the ranks of a job of what lies on their CUDA devices, one device a process, by NCCL. A sum
// runs in a queue of its own, beside the kernels that the device is given after it, and may be part of a captured
// graph.
//
//   DeviceSums& sums = ranks.on_device(device);       // Communicator: all ranks together
//   kernels_that_write(a, b);
//   sums.add_up({{a, b}}, DType::f32);                // in one piece, behind those kernels
//   other_kernels();                                  // beside it
//   sums.join();
//   kernels_that_read(a, b);
//   sums.wait("the step");                            // RankLost, naming the rank, where one is gone
//
// As many ranks give the same bits each time: no choice of NCCL depends on timing. The host never waits without a
// limit: it polls, hears what other ranks say, and when the time limit has passed names who is missing and ends what
// the device still waits for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/tensor.h"

namespace mixgrad {

class Communicator;

class DeviceSums {
 public:
  virtual ~DeviceSums() = default;
  DeviceSums(const DeviceSums&) = delete;
  DeviceSums& operator=(const DeviceSums&) = delete;

  Device device() const { return device_; }
  virtual std::string library() const = 0;  // "NCCL 2.28.3"

  // Before the first piece of so many numbers that are sent as bf16: takes memory. Waits for the device.
  virtual void reserve(std::int64_t numbers, DType sent) = 0;
  // Queues the sums of these tensors [n] in place, of f32 or f64. `sent` bf16, of f32 alone: the numbers are rounded to
  // bf16 and sent, and NCCL rounds every sum of two to bf16.
  virtual void add_up(std::span<const Tensor> parts, DType sent) = 0;
  // Each rank r gives the numbers of values from begins[r] to begins[r + 1] to all others, behind what the device has
  // been given so far; what it is given from now on waits for it.
  virtual void spread(const Tensor& values, std::span<const std::int64_t> begins) = 0;
  // The device begins what it is given from now on when these sums are there.
  virtual void join() = 0;

  // Waits for all that the device has been given.
  virtual void wait(const std::string& where) = 0;
  // Marks, numbered from 0: what the device has been given so far, and the wait for that alone.
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
