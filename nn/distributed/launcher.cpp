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

constexpr int kMostPort = 65535;

int number_of(const Environment& environment, const char* name, std::int64_t low, std::int64_t high) {
  const std::string text = environment(name).value_or("");
  const std::optional<std::int64_t> value = parse_integer(text);
  if (value && *value >= low && *value <= high) return static_cast<int>(*value);
  raise<ValueError>("launcher: the environment variable ", name, " must be an integer from ", low, " to ", high,
                    "; got \"", escaped(text, ControlForm::hex, EscapeQuotes::yes),
                    "\"; start the program with torchrun, mpirun or srun, or remove the variable");
}

const Variables* launcher_of(const Environment& environment) {
  constexpr const Variables& torchrun = kLaunchers[3];
  const auto is_there = [&](const Variables& names) { return environment(names.size) && environment(names.rank); };
  if (environment("TORCHELASTIC_RUN_ID") && is_there(torchrun)) return &torchrun;
  for (const Variables& names : kLaunchers) {
    if (is_there(names)) return &names;
  }
  return nullptr;
}

// Each launcher's own variables alone: under mpirun those of Slurm may differ from host to host.
std::string job_of(const Environment& environment, const std::string& launcher) {
  const auto value = [&](const char* name) { return environment(name).value_or(""); };
  if (launcher == "torchrun") {
    const std::string restarts = value("TORCHELASTIC_RESTART_COUNT");
    return value("TORCHELASTIC_RUN_ID") + (restarts.empty() ? "" : "." + restarts);
  }
  if (launcher == "srun") return value("SLURM_JOB_ID") + "." + value("SLURM_STEP_ID");
  return value("PMIX_NAMESPACE");
}

std::string transport_in(const Environment& environment) {
  const std::string text = environment("MIXGRAD_TRANSPORT").value_or("");
  if (text.empty() || text == "mpi" || text == "tcp") return text;
  raise<ValueError>("launcher: the environment variable MIXGRAD_TRANSPORT must be mpi or tcp; got \"",
                    escaped(text, ControlForm::hex, EscapeQuotes::yes), "\"; correct it, or remove it");
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
  const Variables* names = launcher_of(environment);
  if (names == nullptr) return {};
  Launch launch;
  launch.launcher = names->launcher;
  launch.size = number_of(environment, names->size, 1, kMost);
  launch.rank = number_of(environment, names->rank, 0, launch.size - 1);
  if (environment(names->local_rank)) launch.local_rank = number_of(environment, names->local_rank, 0, launch.rank);
  launch.address = environment("MASTER_ADDR").value_or("");
  if (environment("MASTER_PORT")) launch.port = number_of(environment, "MASTER_PORT", 1, kMostPort);
  launch.agent_listens = launch.launcher == "torchrun" && environment("TORCHELASTIC_USE_AGENT_STORE") == "True";
  launch.has_pmix = environment("PMIX_RANK").has_value();
  launch.job = job_of(environment, launch.launcher);
  launch.transport = transport_in(environment);
  return launch;
}

Transport transport_of(const Launch& launch, bool has_mpi) {
  if (launch.transport == "tcp") return Transport::tcp;
  if (launch.transport == "mpi") {
    if (has_mpi) return Transport::mpi;
    raise<ValueError>(launch.launcher, ": MIXGRAD_TRANSPORT=mpi needs a build with MPI, and this one has none; build ",
                      "it where Open MPI is (Debian: libopenmpi-dev), or set MIXGRAD_TRANSPORT=tcp");
  }
  const bool starts_mpi =
      launch.launcher == "mpirun" || launch.launcher == "mpiexec" || (launch.launcher == "srun" && launch.has_pmix);
  return has_mpi && starts_mpi ? Transport::mpi : Transport::tcp;
}

std::vector<int> meeting_ports(const Launch& launch) {
  if (!launch.agent_listens) return {launch.port};
  std::vector<int> ports;
  for (int i = 1; i <= 16; ++i) {  // past the last port, those below it
    ports.push_back(launch.port + i <= kMostPort ? launch.port + i : launch.port - i);
  }
  return ports;
}

}  // namespace mixgrad
