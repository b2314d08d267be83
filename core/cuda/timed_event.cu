#include "core/cuda/timed_event.h"

#include "core/cuda/launch.cuh"

namespace mixgrad::cuda {
namespace {

cudaEvent_t event(void* pointer) { return static_cast<cudaEvent_t>(pointer); }

}  // namespace

TimedEvent::TimedEvent(Device device) : device_(device) {
  stream(device);  // makes the device current
  cudaEvent_t made = nullptr;
  MIXGRAD_CUDA_CALL("timed event", cudaEventCreate(&made));
  event_ = made;
}

TimedEvent::~TimedEvent() { cudaEventDestroy(event(event_)); }

// External: in a graph it becomes a node of its own, which notes the time; otherwise it would only order the capture.
void TimedEvent::record() {
  const unsigned flags = capturing() ? cudaEventRecordExternal : cudaEventRecordDefault;
  MIXGRAD_CUDA_CALL("timed event", cudaEventRecordWithFlags(event(event_), stream(device_), flags));
}

double TimedEvent::milliseconds_since(const TimedEvent& earlier) const {
  MIXGRAD_CUDA_CALL("timed event", cudaEventSynchronize(event(event_)));
  float milliseconds = 0;
  MIXGRAD_CUDA_CALL("timed event", cudaEventElapsedTime(&milliseconds, event(earlier.event_), event(event_)));
  return milliseconds;
}

}  // namespace mixgrad::cuda
