#include "apps/run/run_ranks.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "apps/options/verb.h"
#include "apps/output/error_line.h"
#include "apps/process/signals.h"
#include "core/system/interrupt.h"
#include "nn/files/hash.h"
#include "nn/modules/finite_values.h"

namespace mixgrad::app {

QuietRank::QuietRank(bool quiet) {
  if (!quiet) return;
  std::fflush(nullptr);
  const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere < 0) return;  // then it prints, and nothing is lost
  stdout_ = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  stderr_ = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  ::dup2(nowhere, STDOUT_FILENO);
  ::dup2(nowhere, STDERR_FILENO);
  ::close(nowhere);
}

void QuietRank::speak() {
  if (!quiet()) return;
  std::fflush(nullptr);
  ::dup2(stdout_, STDOUT_FILENO);
  ::dup2(stderr_, STDERR_FILENO);
  stay_quiet();
}

void QuietRank::stay_quiet() {
  if (!quiet()) return;
  ::close(stdout_);
  ::close(stderr_);
  stdout_ = stderr_ = -1;
}

bool started_alone() { return read_launch(process_environment()).size == 1; }

std::string weights_hash(const Decoder& model) {
  const ParameterSet& parameters = model.parameters();
  const auto hash = [](const Tensor& tensor) {
    const Tensor numbers = tensor.to(kCpu);
    return xxh3_hex({static_cast<const char*>(numbers.raw()), numbers.bytes()});
  };
  // Of divided masters each rank has others: then what the model computes with is compared.
  if (parameters.masters_divided()) return hash(parameters.flat()) + hash(parameters.kept());
  return hash(parameters.master());
}

namespace {

// Tells the other ranks, and prints unless rank 0 prints the same.
void end_job(Communicator& ranks, QuietRank& output, const std::string& reason) {
  if (ranks.alone()) return;
  if (ranks.leave(reason)) return output.stay_quiet();
  output.speak();
}

// The error as this rank says it.
template <class E>
[[noreturn]] void rethrow(Communicator& ranks, QuietRank& output, const E& error) {
  end_job(ranks, output, error.what());
  if (ranks.leads()) throw error;
  throw E("rank " + std::to_string(ranks.rank()) + ": " + error.what());
}

}  // namespace

JoinOptions join_options(double timeout_s, const std::filesystem::path& folder) {
  return {.timeout = std::chrono::duration<double>(timeout_s), .folder = folder};
}

namespace {

std::unique_ptr<Communicator> join_until_stopped(const JoinOptions& options) {
  try {
    return join_job(read_launch(process_environment()), options);
  } catch (const Interrupted& cut) {
    std::fprintf(stderr, "mixgrad: stopped by %s while it waited for the other processes of its job\n",
                 signal_name(cut.signal));
    throw;
  }
}

}  // namespace

int run_in_job(const JoinOptions& options, const std::function<int(Communicator& ranks)>& work) {
  const std::unique_ptr<Communicator> ranks = join_until_stopped(options);
  if (ranks->alone()) return work(*ranks);
  QuietRank output(!ranks->leads());
  try {
    return work(*ranks);
  } catch (const RankLost& error) {
    rethrow(*ranks, output, error);
  } catch (const IoError& error) {
    rethrow(*ranks, output, error);
  } catch (const FormatError& error) {
    rethrow(*ranks, output, error);
  } catch (const OutOfMemory& error) {
    rethrow(*ranks, output, error);
  } catch (const NotFinite& error) {
    rethrow(*ranks, output, error);
  } catch (const Error& error) {
    rethrow(*ranks, output, error);
  } catch (const Interrupted& cut) {
    end_job(*ranks, output, std::string("it was stopped by ") + signal_name(cut.signal));
    throw;
  } catch (const std::exception& error) {
    end_job(*ranks, output, error.what());
    throw;
  }
}

}  // namespace mixgrad::app
