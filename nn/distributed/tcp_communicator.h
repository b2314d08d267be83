// The communicator over sockets of TCP: it needs no library, and a launcher that says rank and size.
#pragma once

#include <memory>

#include "nn/distributed/communicator.h"

namespace mixgrad {

// Each rank has two connections to each other one, for data and for the messages beside them. A connection that ends
// without a farewell says at once that its rank is gone. Neither encrypted nor authenticated: for a private network.
// Errors: those of tcp::connect_ranks().
std::unique_ptr<Communicator> join_tcp(const Launch& launch, const JoinOptions& options);

}  // namespace mixgrad
