// A mark in the queue of a device that notes when the device reaches it. May be recorded into a graph: each replay
// notes the time anew. As core/cuda/cuda.h, it is defined in builds with build::has_cuda only.
//
//   TimedEvent begin(device), end(device);
//   begin.record();  kernels();  end.record();
//   double ms = end.milliseconds_since(begin);   // waits for `end`
#pragma once

#include "core/device.h"

namespace mixgrad::cuda {

class TimedEvent {
 public:
  explicit TimedEvent(Device device);
  ~TimedEvent();
  TimedEvent(const TimedEvent&) = delete;
  TimedEvent& operator=(const TimedEvent&) = delete;

  void record();
  // Half a microsecond is the resolution.
  double milliseconds_since(const TimedEvent& earlier) const;

 private:
  void* event_ = nullptr;
  Device device_;
};

}  // namespace mixgrad::cuda
