// What the program that started this process says about the others of its job.
//
//   const Launch launch = read_launch(process_environment());
//   if (launch.size > 1) ...   // rank launch.rank of launch.size, launch.local_rank-th on this host
//
// Known are, in this order: mpirun of Open MPI (OMPI_COMM_WORLD_*), mpiexec of MPICH and its descendants (PMI_*), srun
// of Slurm (SLURM_STEP_NUM_TASKS, SLURM_PROCID) and torchrun (WORLD_SIZE, RANK). The first that is there counts. In a
// batch script of Slurm, outside srun, there is no SLURM_STEP_NUM_TASKS: what runs there is one process.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace mixgrad {

struct Launch {
  std::string launcher;  // "mpirun", "mpiexec", "srun", "torchrun"; "" = none
  int rank = 0, size = 1;
  int local_rank = 0;   // among the processes of this host
  std::string address;  // MASTER_ADDR and MASTER_PORT of torchrun; "" and 0 = none
  int port = 0;
};

// The value of an environment variable, or nothing.
using Environment = std::function<std::optional<std::string>(const char* name)>;
Environment process_environment();

// ValueError, naming the variable, for a value that is no number, or a rank that is not below the size.
Launch read_launch(const Environment& environment);

}  // namespace mixgrad
