// CUDA graphs and events (core/cuda/cuda.h).
#include "core/cuda/launch.cuh"

namespace mixgrad::cuda {
namespace {

thread_local bool t_capturing = false;

cudaGraphExec_t executable(void* pointer) { return static_cast<cudaGraphExec_t>(pointer); }
cudaEvent_t event(void* pointer) { return static_cast<cudaEvent_t>(pointer); }

}  // namespace

bool capturing() { return t_capturing; }

Graph::~Graph() {
  if (executable_ != nullptr) cudaGraphExecDestroy(executable(executable_));
}

void Graph::launch() const {
  if (!ready()) raise<DeviceError>("graph: it must be captured before it is launched");
  MIXGRAD_CUDA_CALL("graph", cudaGraphLaunch(executable(executable_), stream(device_)));
}

// Relaxed: the private pool may grow meanwhile, which calls cudaMalloc.
Graph::Capture::Capture(Graph& graph, Device device) : graph_(graph), device_(device) {
  if (t_capturing) raise<DeviceError>("graph: this thread captures one already");
  MIXGRAD_CUDA_CALL("graph", cudaStreamBeginCapture(stream(device), cudaStreamCaptureModeRelaxed));
  t_capturing = true;
}

Graph::Capture::~Capture() {
  if (!open_) return;
  t_capturing = false;
  cudaGraph_t unfinished = nullptr;
  cudaStreamEndCapture(stream(device_), &unfinished);
  if (unfinished != nullptr) cudaGraphDestroy(unfinished);
  cudaGetLastError();
}

void Graph::Capture::finish() {
  open_ = false;
  t_capturing = false;
  cudaGraph_t graph = nullptr;
  MIXGRAD_CUDA_CALL("graph", cudaStreamEndCapture(stream(device_), &graph));
  cudaGraphExec_t made = nullptr;
  // Kernels keep the priority of the queue in which they were captured: sums over ranks have a higher one.
  const cudaError_t error = cudaGraphInstantiate(&made, graph, cudaGraphInstantiateFlagUseNodePriority);
  cudaGraphGetNodes(graph, nullptr, &graph_.nodes_);
  cudaGraphDestroy(graph);
  check(error, "cudaGraphInstantiate", "graph");
  if (graph_.executable_ != nullptr) cudaGraphExecDestroy(executable(graph_.executable_));
  graph_.executable_ = made;
  graph_.device_ = device_;
}

Event::Event(Device device) : device_(device) {
  stream(device);  // makes the device current
  cudaEvent_t made = nullptr;
  MIXGRAD_CUDA_CALL("event", cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
  event_ = made;
}
Event::~Event() { cudaEventDestroy(event(event_)); }
void Event::record() { MIXGRAD_CUDA_CALL("event", cudaEventRecord(event(event_), stream(device_))); }
void Event::wait() const { MIXGRAD_CUDA_CALL("event", cudaEventSynchronize(event(event_))); }

}  // namespace mixgrad::cuda
