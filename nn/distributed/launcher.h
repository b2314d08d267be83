// What the program that started this process says about the others of its job.
//
//   const Launch launch = read_launch(process_environment());
//   if (launch.size > 1) ...   // rank launch.rank of launch.size, launch.local_rank-th on this host
//
// Known are, in this order: torchrun where it says that it is there (TORCHELASTIC_RUN_ID; srun or mpirun may have
// started it), mpirun of Open MPI (OMPI_COMM_WORLD_*), mpiexec of MPICH and its descendants (PMI_*), srun of Slurm
// (SLURM_STEP_NUM_TASKS, SLURM_PROCID), and any program that sets what torchrun sets (WORLD_SIZE, RANK). The first that
// is there counts. In a batch script of Slurm, outside srun, there is no SLURM_STEP_NUM_TASKS: what runs there is one
// process.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace mixgrad {

struct Launch {
  std::string launcher = {};  // "mpirun", "mpiexec", "srun", "torchrun"; "" = none
  int rank = 0, size = 1;
  int local_rank = 0;        // among the processes of this host
  std::string address = {};  // MASTER_ADDR and MASTER_PORT, where rank 0 may be met; "" and 0 = none
  int port = 0;
  bool agent_listens = false;  // torchrun itself listens at `port` (TORCHELASTIC_USE_AGENT_STORE)
  bool has_pmix = false;       // the launcher speaks PMIx, which Open MPI needs of srun
  std::string job = {};        // tells this job from another at the same address; "" = nothing does
  std::string transport = {};  // MIXGRAD_TRANSPORT: "mpi", "tcp"; "" = transport_of() chooses
};

// How the processes of a job are connected.
enum class Transport : std::uint8_t { mpi, tcp };

// The value of an environment variable, or nothing.
using Environment = std::function<std::optional<std::string>(const char* name)>;
Environment process_environment();

// ValueError, naming the variable, for a value that is no number, or a rank that is not below the size.
Launch read_launch(const Environment& environment);

// What MIXGRAD_TRANSPORT says. Without it MPI, where this build has it and the launcher starts processes of MPI:
// mpirun, mpiexec, srun with PMIx. Else TCP. ValueError for "mpi" in a build without it.
Transport transport_of(const Launch& launch, bool has_mpi);

// The ports at which rank 0 may listen: launch.port, or the 16 behind it where torchrun itself listens there.
std::vector<int> meeting_ports(const Launch& launch);

}  // namespace mixgrad
