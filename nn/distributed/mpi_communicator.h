// The communicator over MPI, of builds with build::has_mpi. It calls no function of MPI before join_mpi().
#pragma once

#include <memory>

#include "nn/distributed/communicator.h"

namespace mixgrad {

// Once in a process. All calls are non-blocking ones of MPI that are polled, so that each can end at its time limit.
// ValueError when MPI sees another number of processes than the launcher, as the library of another MPI would.
std::unique_ptr<Communicator> join_mpi(const Launch& launch, const JoinOptions& options);

}  // namespace mixgrad
