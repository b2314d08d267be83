// That all ranks of a job do the same work.
//
//   require_same(ranks, {{"the version", version}, {"--lr", "0.001"}});
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "nn/distributed/communicator.h"

namespace mixgrad {

using Facts = std::vector<std::pair<std::string, std::string>>;  // name, value

// ValueError, the same on every rank, that names the first rank with another value than rank 0, and both values.
void require_same(Communicator& ranks, const Facts& facts);

// The request to stop of any rank (core/system/interrupt.h), on every rank the same: of several the largest number.
// Every rank calls it. `own`: what this rank knows of a request.
int agreed_interrupt(Communicator* ranks, int own);
// Throws Interrupted on every rank when there has been a request on one. `ranks` null: check_interrupt().
void check_interrupt_of(Communicator* ranks);

}  // namespace mixgrad
