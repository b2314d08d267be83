// What launchers say in the environment, and a job of one process.
#include <doctest/doctest.h>

#include <map>

#include "nn/distributed/communicator.h"
#include "nn/distributed/launcher.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using Values = std::map<std::string, std::string>;

Launch launch_of(const Values& values) {
  return read_launch([&](const char* name) -> std::optional<std::string> {
    const auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  });
}

std::string refusal_of(const Values& values) {
  try {
    launch_of(values);
  } catch (const ValueError& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("launcher: one process where nothing is said") {
  const Launch launch = launch_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}, {"RANK", "3"}});
  CHECK(launch.launcher.empty());
  CHECK(launch.size == 1);
}

TEST_CASE("launcher: mpirun, mpiexec, srun, torchrun") {
  const Launch open = launch_of({{"OMPI_COMM_WORLD_SIZE", "4"},
                                 {"OMPI_COMM_WORLD_RANK", "3"},
                                 {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                 {"SLURM_STEP_NUM_TASKS", "2"},  // of mpirun's own daemons
                                 {"SLURM_PROCID", "1"}});
  CHECK(open.launcher == "mpirun");
  CHECK(open.rank == 3);
  CHECK(open.size == 4);
  CHECK(open.local_rank == 1);
  CHECK(launch_of({{"PMI_SIZE", "2"}, {"PMI_RANK", "1"}, {"MPI_LOCALRANKID", "1"}}).launcher == "mpiexec");
  const Launch slurm = launch_of({{"SLURM_STEP_NUM_TASKS", "16"}, {"SLURM_PROCID", "9"}, {"SLURM_LOCALID", "1"}});
  CHECK(slurm.launcher == "srun");
  CHECK(slurm.rank == 9);
  const Launch torch = launch_of(
      {{"WORLD_SIZE", "2"}, {"RANK", "1"}, {"LOCAL_RANK", "0"}, {"MASTER_ADDR", "10.0.0.1"}, {"MASTER_PORT", "29500"}});
  CHECK(torch.launcher == "torchrun");
  CHECK(torch.address == "10.0.0.1");
  CHECK(torch.port == 29500);
}

TEST_CASE("launcher: values that cannot be are refused") {
  CHECK(refusal_of({{"WORLD_SIZE", "2"}, {"RANK", "2"}}) ==
        "launcher: the environment variable RANK must be an integer from 0 to 1; got \"2\"; start the program with "
        "torchrun, mpirun or srun, or remove the variable");
  CHECK(refusal_of({{"PMI_SIZE", "none"}, {"PMI_RANK", "0"}}).find("PMI_SIZE must be") != std::string::npos);
  CHECK(refusal_of({{"PMI_SIZE", "0"}, {"PMI_RANK", "0"}}).find("from 1 to") != std::string::npos);
}

TEST_CASE("communicator: one process needs no library, and its sums are its numbers") {
  const auto ranks = join_job({});
  CHECK(ranks->alone());
  CHECK(ranks->transport() == "none");
  const Tensor values = Tensor::from(std::vector<double>{1, 2, 3}, {3}, DType::f32);
  const Tensor total = Tensor::from(std::vector<double>{10, 20, 30}, {3}, DType::f32);
  ranks->sum(values);
  ranks->sum_in_order(values, total, Communicator::Into::add);
  CHECK(total.at(2) == 33);
  ranks->sum_in_order(values, total, Communicator::Into::write);
  CHECK(total.at(2) == 3);
  CHECK(ranks->gather("a") == std::vector<std::string>{"a"});
  CHECK(ranks->from_leader("b") == "b");
  CHECK(ranks->largest(7) == 7);
  CHECK_THROWS_AS(ranks->sum(Tensor::zeros({2, 2}, DType::f32)), ShapeError);
  CHECK_THROWS_AS(ranks->sum(Tensor::zeros({2}, DType::f64), {.dtype = DType::bf16}), DTypeError);
}

TEST_CASE("launcher: torchrun counts before the launcher that started it") {
  const Launch launch = launch_of({{"SLURM_STEP_NUM_TASKS", "2"},
                                   {"SLURM_PROCID", "1"},
                                   {"WORLD_SIZE", "16"},
                                   {"RANK", "9"},
                                   {"LOCAL_RANK", "1"},
                                   {"TORCHELASTIC_RUN_ID", "night"},
                                   {"TORCHELASTIC_RESTART_COUNT", "2"},
                                   {"TORCHELASTIC_USE_AGENT_STORE", "True"}});
  CHECK(launch.launcher == "torchrun");
  CHECK(launch.size == 16);
  CHECK(launch.rank == 9);
  CHECK(launch.job == "night.2");
  CHECK(launch.agent_listens);
}

TEST_CASE("launcher: what tells one job from another") {
  const Values slurm{{"SLURM_JOB_ID", "31"}, {"SLURM_STEP_ID", "4"}};
  Values step = slurm;
  step.insert({{"SLURM_STEP_NUM_TASKS", "2"}, {"SLURM_PROCID", "1"}});
  CHECK(launch_of(step).job == "31.4");
  Values open = slurm;  // mpirun's daemons are a step of their own on some hosts, and none on others
  open.insert({{"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_RANK", "0"}, {"PMIX_NAMESPACE", "77"}});
  CHECK(launch_of(open).job == "77");
  CHECK(launch_of({{"WORLD_SIZE", "2"}, {"RANK", "1"}}).job.empty());
}

TEST_CASE("launcher: MPI where the launcher starts it and the build has it, else TCP") {
  const auto with_mpi = [](const Launch& launch) { return transport_of(launch, true) == Transport::mpi; };
  const auto without = [](const Launch& launch) { return transport_of(launch, false) == Transport::tcp; };
  for (const char* launcher : {"mpirun", "mpiexec"}) {
    CHECK(with_mpi({.launcher = launcher}));
    CHECK(without({.launcher = launcher}));
    CHECK_FALSE(with_mpi({.launcher = launcher, .transport = "tcp"}));
  }
  CHECK(with_mpi({.launcher = "srun", .has_pmix = true}));
  CHECK_FALSE(with_mpi({.launcher = "srun"}));
  CHECK(without({.launcher = "srun", .has_pmix = true}));
  CHECK_FALSE(with_mpi({.launcher = "torchrun"}));
  CHECK(with_mpi({.launcher = "torchrun", .transport = "mpi"}));
  CHECK_THROWS_WITH(static_cast<void>(transport_of({.launcher = "mpirun", .transport = "mpi"}, false)),
                    "mpirun: MIXGRAD_TRANSPORT=mpi needs a build with MPI, and this one has none; build it where Open "
                    "MPI is (Debian: libopenmpi-dev), or set MIXGRAD_TRANSPORT=tcp");
  const Values two{{"WORLD_SIZE", "2"}, {"RANK", "1"}};
  Values chosen = two;
  chosen["MIXGRAD_TRANSPORT"] = "tcp";
  CHECK(launch_of(chosen).transport == "tcp");
  chosen["MIXGRAD_TRANSPORT"] = "udp";
  CHECK(
      refusal_of(chosen) ==
      "launcher: the environment variable MIXGRAD_TRANSPORT must be mpi or tcp; got \"udp\"; correct it, or remove it");
}

TEST_CASE("launcher: ports at which the ranks may meet") {
  CHECK(meeting_ports({.port = 29500}) == std::vector<int>{29500});
  const std::vector<int> behind = meeting_ports({.port = 29500, .agent_listens = true});
  CHECK(behind.size() == 16);
  CHECK(behind.front() == 29501);
  CHECK(behind.back() == 29516);
  const std::vector<int> last = meeting_ports({.port = 65534, .agent_listens = true});
  CHECK(last.size() == 16);
  CHECK(last[0] == 65535);
  CHECK(last[1] == 65532);  // past the last port, those below it
}

}  // namespace
}  // namespace mixgrad
