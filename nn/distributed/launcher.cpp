#include "nn/distributed/launcher.h"

#include <cstdlib>
#include <limits>

#include "core/error.h"
#include "core/text/escape.h"
#include "core/text/parse_number.h"

namespace mixgrad {
namespace {

struct Variables {
  const char *launcher, *size, *rank, *local_rank;
};
constexpr Variables kLaunchers[] = {
    {"mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"},
    {"mpiexec", "PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID"},
    {"srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"},
    {"torchrun", "WORLD_SIZE", "RANK", "LOCAL_RANK"},
};

int number_of(const Environment& environment, const char* name, std::int64_t low, std::int64_t high) {
  const std::string text = environment(name).value_or("");
  const std::optional<std::int64_t> value = parse_integer(text);
  if (value && *value >= low && *value <= high) return static_cast<int>(*value);
  raise<ValueError>("launcher: the environment variable ", name, " must be an integer from ", low, " to ", high,
                    "; got \"", escaped(text, ControlForm::hex, EscapeQuotes::yes),
                    "\"; start the program with mpirun or srun, or remove the variable");
}

}  // namespace

Environment process_environment() {
  return [](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    if (value == nullptr) return std::nullopt;
    return value;
  };
}

Launch read_launch(const Environment& environment) {
  constexpr std::int64_t kMost = 1'000'000;
  for (const Variables& names : kLaunchers) {
    if (!environment(names.size) || !environment(names.rank)) continue;
    Launch launch;
    launch.launcher = names.launcher;
    launch.size = number_of(environment, names.size, 1, kMost);
    launch.rank = number_of(environment, names.rank, 0, launch.size - 1);
    if (environment(names.local_rank)) launch.local_rank = number_of(environment, names.local_rank, 0, launch.rank);
    launch.address = environment("MASTER_ADDR").value_or("");
    if (environment("MASTER_PORT")) launch.port = number_of(environment, "MASTER_PORT", 1, 65535);
    return launch;
  }
  return {};
}

}  // namespace mixgrad
