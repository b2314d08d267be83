#include "apps/options/placement_options.h"

#include "core/build.h"
#include "core/cuda/cuda.h"
#include "core/error.h"
#include "core/matmul_precision.h"
#include "nn/distributed/launcher.h"

namespace mixgrad::app {

namespace {

// The first CUDA device; in a job of several processes the one whose number is that of this process on its host. Where
// a launcher lets each process see one device alone, that one.
Device own_device() {
  Device device = parse_device("cuda");
  if constexpr (build::has_cuda) {
    const Launch launch = read_launch(process_environment());
    const int count = cuda::device_count();
    if (launch.size > 1 && count > 0) device.index = static_cast<std::int8_t>(launch.local_rank % count);
  }
  return device;
}

}  // namespace

DType parse_precision(const std::string& name) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    if (name == dtype_name(dtype)) return dtype;
  }
  raise<ValueError>("precision: must be f64, f32 or bf16, got \"", name, '"');
}

void PlacementOptions::declare(OptionSet& options, const std::vector<std::string>& precisions,
                               const std::string& help) {
  options.add("device", device,
              "Where the model runs: cpu, cuda or cuda:N; or check: on cuda, each operator compared with the CPU",
              {.group = OptionGroup::device, .value = "DEVICE", .on_resume = OnResume::not_stored});
  options.add("precision", precision, precisions, help, {.group = OptionGroup::device});
  options.add("matmul-precision", matmul_precision, {"highest", "high", "medium"},
              "Products of f32: highest = exact operands; on CUDA high = tf32; on CUDA and CPUs with AMX medium = bf16 "
              "operands (in attention on CUDA tf32)",
              {.group = OptionGroup::device,
               .useless = useless_when([this] { return precision == "f64"; }, "products of f64 are always exact")});
}

void declare_threads(OptionSet& options, std::int64_t& threads) {
  options.add("threads", threads, kThreads, "Threads of the CPU; 0 = all cores. The result does not depend on it",
              {.group = OptionGroup::device, .on_resume = OnResume::may_change, .absent_means = "0"});
}

Device checked_device() {
  if constexpr (!build::has_cuda) {
    raise<DeviceError>(
        "device: this build has the device cpu only, got check, which compares cuda with it; build with cmake --preset "
        "cuda");
  }
  const Device device = parse_device("cuda");
  require_device(device);
  return device;
}

void PlacementOptions::check_device() const {
  if (checks()) checked_device();
  if (device.starts_with("cuda:")) {
    const int processes = read_launch(process_environment()).size;
    if (processes > 1) {
      raise<ValueError>("--device ", device, ": in a job of several processes each takes the device of its own number ",
                        "on the host; got ", processes, " processes; give --device cuda");
    }
  }
  require_device(where());
}

Context PlacementOptions::context(std::int64_t threads) const {
  return {.matmul_precision = parse_matmul_precision(matmul_precision),
          .threads = static_cast<int>(threads),
          .check_devices = checks()};
}

Device PlacementOptions::where() const { return checks() || device == "cuda" ? own_device() : parse_device(device); }

}  // namespace mixgrad::app
