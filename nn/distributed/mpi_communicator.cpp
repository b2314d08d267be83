#include "nn/distributed/mpi_communicator.h"

#include "core/build.h"

#if MIXGRAD_HAS_MPI

#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <exception>
#include <thread>
namespace mixgrad {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kLeaves = 1, kRollCall = 2;   // tags of the messages beside the collective calls
constexpr std::size_t kReasonBytes = 1000;  // of a message that a rank leaves; small messages need no receiver
constexpr std::chrono::milliseconds kRollCallTime{1000};
constexpr std::chrono::milliseconds kLeaveTime{500};

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  raise<RankLost>(call,
                  ": another rank cannot be reached: ", std::string(text.data(), static_cast<std::size_t>(length)),
                  "; start the job again; a run is resumed from its last checkpoint");
}

// The first line of a text, up to a comma: "Open MPI v4.1.4".
std::string library_name() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  const std::string all(text.data(), static_cast<std::size_t>(length));
  return all.substr(0, all.find_first_of(",\n"));
}

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(int rank, int size, const JoinOptions& options)
      : Communicator(rank, size), timeout_(options.timeout), uncaught_(std::uncaught_exceptions()) {
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &data_), "MPI_Comm_dup");
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &control_), "MPI_Comm_dup");
    for (MPI_Comm comm : {MPI_COMM_WORLD, data_, control_}) MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  }

  ~MpiCommunicator() override {
    if (std::uncaught_exceptions() > uncaught_) leave("it ended with an error");
    if (left_) return;  // the others are not waited for
    MPI_Comm_free(&data_);
    MPI_Comm_free(&control_);
    MPI_Finalize();
  }
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  std::string transport() const override { return "MPI (" + library_name() + ")"; }

  bool leave(const std::string& reason) noexcept override {
    if (left_) return false;
    left_ = true;
    abandon_devices();
    last_words_ = reason.substr(0, kReasonBytes);
    to_all(kLeaves, last_words_, kLeaveTime);
    int there = 0;
    MPI_Status status;
    if (leads() || MPI_Iprobe(0, kLeaves, control_, &there, &status) != MPI_SUCCESS || there == 0) return false;
    std::string words(kReasonBytes, ' ');
    MPI_Recv(words.data(), static_cast<int>(words.size()), MPI_CHAR, 0, kLeaves, control_, &status);
    int length = 0;
    MPI_Get_count(&status, MPI_CHAR, &length);
    return words.compare(0, static_cast<std::size_t>(length), last_words_) == 0;
  }

  void check_others(const std::string& where) override {
    int there = 0;
    MPI_Status status;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, kLeaves, control_, &there, &status), "MPI_Iprobe");
    if (there == 0) {
      check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, kRollCall, control_, &there, &status), "MPI_Iprobe");
      if (there != 0) report_missing(where);
      return;
    }
    std::string reason(kReasonBytes, ' ');
    check_mpi(MPI_Recv(reason.data(), static_cast<int>(reason.size()), MPI_CHAR, status.MPI_SOURCE, kLeaves, control_,
                       &status),
              "MPI_Recv");
    int length = 0;
    MPI_Get_count(&status, MPI_CHAR, &length);
    left_ = true;  // it has told all the others itself
    abandon_devices();
    raise<RankLost>("rank ", status.MPI_SOURCE, " of ", size(),
                    " stopped: ", reason.substr(0, static_cast<std::size_t>(length)));
  }

  [[noreturn]] void report_missing(const std::string& where) override {
    to_all(kRollCall, "", kRollCallTime);
    std::string missing;
    for (int r = 0; r < size(); ++r) {
      int there = r == rank() ? 1 : 0;
      MPI_Status status;
      if (there == 0) MPI_Iprobe(r, kRollCall, control_, &there, &status);
      if (there == 0) missing += (missing.empty() ? "rank " : " and rank ") + std::to_string(r);
    }
    left_ = true;
    abandon_devices();
    if (missing.empty()) {
      raise<RankLost>("all ranks of ", size(), " answer, but one came to ", where, " later than ", timeout_.count(),
                      " s (--timeout) after another; start the job again with a larger --timeout; a run is resumed ",
                      "from its last checkpoint");
    }
    raise<RankLost>(missing, " of ", size(), " did not take part in ", where, " within ", timeout_.count(),
                    " s (--timeout); it was killed, hangs, or is slower than that; start the job again; a run is ",
                    "resumed from its last checkpoint");
  }

  std::chrono::duration<double> timeout() const override { return timeout_; }

 protected:
  void gather_bytes(std::span<const std::byte> own, std::span<std::byte> all,
                    std::span<const std::int64_t> counts) override {
    const Parts parts(counts);
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Iallgatherv(own.data(), static_cast<int>(own.size()), MPI_BYTE, all.data(), parts.counts.data(),
                              parts.begins.data(), MPI_BYTE, data_, &request),
              "MPI_Iallgatherv");
    wait(request);
  }

  void exchange_bytes(std::span<const std::byte> sent, std::span<const std::int64_t> sent_counts,
                      std::span<std::byte> received, std::span<const std::int64_t> received_counts) override {
    const Parts to(sent_counts), from(received_counts);
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ialltoallv(sent.data(), to.counts.data(), to.begins.data(), MPI_BYTE, received.data(),
                             from.counts.data(), from.begins.data(), MPI_BYTE, data_, &request),
              "MPI_Ialltoallv");
    wait(request);
  }

  void sum_any(const Tensor& values) override {
    MIXGRAD_ASSERT(values.numel() <= INT_MAX, "buckets are smaller");
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Iallreduce(MPI_IN_PLACE, values.raw(), static_cast<int>(values.numel()),
                             values.dtype() == DType::f64 ? MPI_DOUBLE : MPI_FLOAT, MPI_SUM, data_, &request),
              "MPI_Iallreduce");
    wait(request);
  }

 private:
  // As MPI takes them.
  struct Parts {
    std::vector<int> counts, begins;
    explicit Parts(std::span<const std::int64_t> bytes) {
      std::int64_t begin = 0;
      for (const std::int64_t count : bytes) {
        MIXGRAD_ASSERT(begin + count <= INT_MAX, "buckets are smaller");
        counts.push_back(static_cast<int>(count));
        begins.push_back(static_cast<int>(begin));
        begin += count;
      }
    }
  };

  // Until the call is done. It spins at first, since most waits are short, then lets others have the core.
  void wait(MPI_Request& request) {
    const Clock::time_point start = Clock::now();
    for (std::int64_t polls = 0;; ++polls) {
      int done = 0;
      check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
      if (done != 0) return;
      if (polls < 200) continue;
      if (polls % 64 == 0) check_others(doing());
      const auto waited = Clock::now() - start;
      if (waited > timeout_) report_missing(doing());
      if (waited < std::chrono::milliseconds(20)) {
        sched_yield();
      } else {
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
    }
  }

  // Small messages, which MPI sends without waiting for who receives them. Takes `time`, in which those of the others
  // can arrive, and they can print what they have to before mpirun, which sees this process end, ends them too.
  void to_all(int tag, const std::string& text, std::chrono::milliseconds time) noexcept {
    std::vector<MPI_Request> requests(static_cast<std::size_t>(size()), MPI_REQUEST_NULL);
    for (int r = 0; r < size(); ++r) {
      if (r == rank()) continue;
      MPI_Isend(text.data(), static_cast<int>(text.size()), MPI_CHAR, r, tag, control_,
                &requests[static_cast<std::size_t>(r)]);
    }
    const Clock::time_point end = Clock::now() + time;
    while (Clock::now() < end) {
      int done = 0, there = 0;
      MPI_Testall(size(), requests.data(), &done, MPI_STATUSES_IGNORE);
      MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, control_, &there, MPI_STATUS_IGNORE);  // MPI receives only when called
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  MPI_Comm data_ = MPI_COMM_NULL, control_ = MPI_COMM_NULL;
  std::chrono::duration<double> timeout_;
  int uncaught_;
  bool left_ = false;
  std::string last_words_;
};

}  // namespace

std::unique_ptr<Communicator> join_mpi(const Launch& launch, const JoinOptions& options) {
  int initialised = 0;
  MPI_Initialized(&initialised);
  MIXGRAD_ASSERT(initialised == 0, "a process joins a job once");
  int provided = 0;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (size != launch.size || rank != launch.rank) {
    const std::string library = library_name();
    MPI_Finalize();
    raise<ValueError>(launch.launcher, ": this is rank ", launch.rank, " of ", launch.size, " for it, and rank ", rank,
                      " of ", size, " for ", library,
                      ", with which this program is built; start it with the mpirun of that library, or ",
                      "with srun that knows PMIx (mpi=pmix), or connect the processes by TCP (MIXGRAD_TRANSPORT=tcp)");
  }
  return std::make_unique<MpiCommunicator>(rank, size, options);
}

}  // namespace mixgrad

#else

namespace mixgrad {

std::unique_ptr<Communicator> join_mpi(const Launch& launch, const JoinOptions&) {
  raise<ValueError>(launch.launcher, ": this build has no MPI");
}

}  // namespace mixgrad

#endif
