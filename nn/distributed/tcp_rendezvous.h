// Connects the processes of a job by TCP, each with each other one.
//
//   const tcp::Mesh mesh = tcp::connect_ranks(launch, options);   // the same on every rank
//
// Rank 0 listens at the meeting place (tcp_meeting.h). Every other rank connects to it, says who it is, and gets a list
// of where all ranks listen and a token drawn at random; then rank r connects to the ranks below it with the token.
// A peer that says anything else, or nothing, is dropped. A place where nobody or another job answers is tried again.
#pragma once

#include <vector>

#include "nn/distributed/communicator.h"
#include "nn/distributed/tcp_sockets.h"

namespace mixgrad::tcp {

inline constexpr int kMostRanks = 1024;

struct Mesh {
  std::vector<Socket> data, control;  // to rank r; none to this one
};

// ValueError when there is no place to meet; RankLost when a rank has not come within options.timeout; IoError when the
// port is taken; Interrupted.
Mesh connect_ranks(const Launch& launch, const JoinOptions& options);

}  // namespace mixgrad::tcp
