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
        "mpirun or srun, or remove the variable");
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

TEST_CASE("communicator: a job of torchrun is refused, with what to do") {
  const Launch launch{.launcher = "torchrun", .rank = 0, .size = 2, .address = "localhost", .port = 1};
  CHECK_THROWS_WITH(static_cast<void>(join_job(launch)),
                    "torchrun: processes are connected by MPI here, which it does not start; WORLD_SIZE says that "
                    "there are 2; start them with mpirun -n 2, or for one process remove WORLD_SIZE and RANK from the "
                    "environment");
}

}  // namespace
}  // namespace mixgrad
