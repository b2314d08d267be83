#include "nn/distributed/tcp_rendezvous.h"

#if !defined(__EMSCRIPTEN__)

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <span>
#include <sstream>
#include <utility>

#include "nn/distributed/tcp_meeting.h"
#include "nn/distributed/tcp_reception.h"

namespace mixgrad::tcp {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kAnswerTime = 2s;  // in which one that listens accepts and answers, before the next place is tried
constexpr auto kPeerTime = 20s;   // the same of a rank that is there, which may be slow
constexpr auto kPause = 50ms;     // before all places are tried again
constexpr auto kPortTime = 3s;    // in which a port may become free that another job has just left

std::string reason_of(int error) { return std::strerror(error); }

class Rendezvous {
 public:
  Rendezvous(const Launch& launch, const JoinOptions& options)
      : launch_(launch),
        rank_(static_cast<std::size_t>(launch.rank)),
        size_(static_cast<std::size_t>(launch.size)),
        limit_s_(options.timeout.count()),
        end_(Clock::now() + std::chrono::duration_cast<Clock::duration>(options.timeout)),
        place_(meeting_place(launch, options.folder)),
        identity_(launch.job),
        reception_(size_, [this](const Greeting& said) { return admit(said); }) {
    mesh_.data.resize(size_);
    mesh_.control.resize(size_);
    rows_.resize(size_);
  }

  Mesh run() {
    rank_ == 0 ? receive_all() : meet_rank_0();
    while (!whole()) {
      if (!wait(end_)) raise_unconnected();
      require_whole_ranks();
    }
    return std::move(mesh_);
  }

 private:
  bool wait(Clock::time_point until) { return reception_.wait(nullptr, 0, until); }

  Reception::Admission admit(const Greeting& said) {
    const std::size_t r = said.rank;
    if (said.protocol != kProtocol) return {Verdict::other_protocol};
    if (said.purpose == Purpose::meet) {
      if (rank_ != 0 || said.identity != Identity(identity_)) return {Verdict::other_job};
      if (said.size != size_ || r == 0 || r >= size_) return {Verdict::other_size};
      if (there(mesh_.control[r])) return {Verdict::rank_taken};
      rows_[r] = {.port = said.port, .addresses = said.addresses};
      return {Verdict::welcome, &mesh_.control[r]};
    }
    if (token_ == Identity())
      return {.verdict = Verdict::other_job, .later = true};  // it got the list before this rank
    if (said.identity != token_ || r <= rank_ || r >= size_) return {Verdict::other_job};
    return {Verdict::welcome, said.purpose == Purpose::data ? &mesh_.data[r] : &mesh_.control[r]};
  }
  static bool there(const Socket& socket) { return socket && !Reception::ended(socket); }

  // --- Rank 0.

  void receive_all() {
    MeetingFile file(place_.file);
    place_.host.empty() ? listen_by_file(file) : listen_at_address();
    while (std::count_if(mesh_.control.begin(), mesh_.control.end(), there) + 1 < static_cast<std::ptrdiff_t>(size_)) {
      if (!wait(end_)) raise_absent();
    }
    token_ = Identity(random_identity());
    const ListHead head{.token = token_};
    for (std::size_t r = 1; r < size_; ++r) {
      reception_.send_all(mesh_.control[r], bytes_of_struct(head), end_);
      reception_.send_all(mesh_.control[r], std::as_bytes(std::span(rows_)), end_);
    }
  }

  void listen_by_file(MeetingFile& file) {
    std::vector<Socket> listeners = listen_everywhere(0);
    if (listeners.empty()) raise<IoError>("joining a job: rank 0 cannot listen: ", reason_of(errno));
    const MeetingNote note{
        .identity = random_identity(), .addresses = own_addresses(), .port = own_end(listeners[0]).port};
    reception_.listen_at(std::move(listeners));
    identity_ = note.identity;
    file.write(note);
    where_ = place_.file.string();
  }

  void listen_at_address() {
    const std::vector<std::string> addresses = addresses_of(place_.host);
    if (addresses.empty()) raise_unknown_host();
    const Clock::time_point until = std::min(end_, Clock::now() + kPortTime);
    int error = 0;
    do {
      for (const int port : place_.ports) {
        error = listen_at_port(addresses, port);
        if (error != 0) continue;
        where_ = place_.host + ":" + std::to_string(port);
        return;
      }
    } while (wait(until));
    const std::string ports =
        std::to_string(place_.ports.front()) +
        (place_.ports.size() == 1 ? "" : " to " + std::to_string(place_.ports.back()) + ", beside that of torchrun");
    raise<IoError>(launch_.launcher, ": rank 0 must listen at ", place_.host, ", port ", ports,
                   " (MASTER_ADDR, MASTER_PORT); got: ", reason_of(error), "; choose a port that is free there");
  }

  // errno, or 0. A name that is known to its own host as 127.0.1.1 has another address for the others.
  int listen_at_port(const std::vector<std::string>& addresses, int port) {
    const bool near = std::all_of(addresses.begin(), addresses.end(), is_loopback);
    int error = EADDRNOTAVAIL;
    std::vector<Socket> listeners;
    for (const std::string& address : addresses) {
      if (near && !is_loopback(place_.host)) break;
      Socket socket = listen_at(address, port);
      if (!socket) error = errno;
      if (socket) listeners.push_back(std::move(socket));
    }
    if (listeners.empty() && error == EADDRNOTAVAIL) {  // the address is that of a gateway, or as above
      listeners = listen_everywhere(port);
      if (listeners.empty()) error = errno;
    }
    if (listeners.empty()) return error;
    reception_.listen_at(std::move(listeners));
    return 0;
  }

  [[noreturn]] void raise_absent() const {
    std::string absent;
    for (std::size_t r = 1; r < size_; ++r) {
      if (!there(mesh_.control[r])) absent += (absent.empty() ? "rank " : " and rank ") + std::to_string(r);
    }
    raise<RankLost>(absent, " of ", size_, " did not come to rank 0 at ", where_, " within ", limit_s_,
                    " s (--timeout); it was not started, or cannot reach ", own_name(),
                    "; start the job again with an address (MASTER_ADDR) that every host can reach");
  }

  // --- The other ranks.

  void meet_rank_0() {
    for (;;) {
      for (const Address& at : meeting_addresses()) {
        if (!greet(at, Purpose::meet, mesh_.control[0])) continue;
        met_ = true;
        if (!receive_list()) continue;
        connect_below(at);
        return;
      }
      if (!pause()) break;
    }
    raise<RankLost>("rank ", rank_, " of ", size_,
                    met_ ? " reached rank 0, where others are missing, at " : " found no rank 0 at ",
                    place_.host.empty() ? place_.file.string() : place_.host + ":" + std::to_string(place_.ports[0]),
                    place_.ports.size() > 1 ? " and the ports behind it" : "", " within ", limit_s_,
                    " s (--timeout); last: ", last_.empty() ? "nothing answered" : last_,
                    "; start all ranks together, with an address (MASTER_ADDR) that every host can reach");
  }

  bool pause() {
    const Clock::time_point until = Clock::now() + kPause;
    while (wait(until)) {
    }
    return Clock::now() < end_;
  }

  std::vector<Address> meeting_addresses() {
    std::vector<Address> all;
    if (place_.host.empty()) {
      const std::optional<MeetingNote> note = read_note(place_.file);
      if (!note) {
        last_ = "rank 0 has not written " + place_.file.string();
        return all;
      }
      identity_ = note->identity;
      for (const std::string& address : note->addresses) all.push_back({address, note->port});
      return all;
    }
    const std::vector<std::string> addresses = addresses_of(place_.host);
    if (addresses.empty()) last_ = "the name " + place_.host + " is not known here";
    for (const int port : place_.ports) {
      for (const std::string& address : addresses) all.push_back({address, port});
    }
    return all;
  }

  // Connects, and says who this is: whether it is welcome.
  bool greet(const Address& at, Purpose purpose, Socket& place) {
    const std::string who = at.host + " port " + std::to_string(at.port) + ": ";
    Clock::time_point until = std::min(end_, Clock::now() + kAnswerTime);
    Socket socket = begin_to_connect(at);
    bool connected = false;
    while (socket && !connected) {
      pollfd one{socket.descriptor(), POLLOUT, 0};
      connected = ::poll(&one, 1, 0) > 0;
      if (!connected && !reception_.wait(&socket, POLLOUT, until)) break;
    }
    const int error = socket ? error_of(socket) : errno;
    if (!socket || !connected || error != 0) {
      last_ = who + (error != 0 ? reason_of(error) : "no answer");
      return false;
    }
    if (purpose != Purpose::meet) until = std::min(end_, Clock::now() + kPeerTime);
    const Greeting words = greeting(socket, purpose);
    Answer got;
    const bool answered = reception_.send_all(socket, bytes_of_struct(words), until) &&
                          reception_.receive_all(socket, std::as_writable_bytes(std::span(&got, 1)), until);
    if (!answered || got.magic != kAnswerMagic) {
      last_ = who + "another program listens there, or none answers";
      return false;
    }
    if (got.verdict == Verdict::welcome) place = std::move(socket);
    if (got.verdict != Verdict::welcome) last_ = who + text_of(got.verdict);
    return got.verdict == Verdict::welcome;
  }

  Greeting greeting(const Socket& socket, Purpose purpose) {
    Greeting words;
    words.purpose = purpose;
    words.size = static_cast<std::uint32_t>(size_);
    words.rank = static_cast<std::uint32_t>(rank_);
    words.identity = purpose == Purpose::meet ? Identity(identity_) : token_;
    if (purpose != Purpose::meet || rank_ + 1 == size_) return words;  // nobody connects to the last
    const std::string here = own_end(socket).host;
    // The way to rank 0 leads through this host alone: the others know it by its other addresses.
    const bool near = is_loopback(here) && !is_loopback(place_.host);
    if (here != here_) {
      std::vector<Socket> listeners = near ? listen_everywhere(0) : std::vector<Socket>();
      if (!near) listeners.push_back(listen_at(here, 0));
      if (listeners.empty() || !listeners[0]) {
        raise<IoError>("joining a job: this rank cannot listen at ", here, ": ", reason_of(errno));
      }
      reception_.listen_at(std::move(listeners));
      here_ = here;
    }
    std::string all = here;
    for (const std::string& address : near ? own_addresses() : std::vector<std::string>()) {
      const bool fits = all.size() + address.size() + 2 < sizeof words.addresses;
      if (fits && address != here) all += " " + address;
    }
    words.addresses = AddressText(all);
    words.port = static_cast<std::uint32_t>(own_end(reception_.listeners()[0]).port);
    return words;
  }

  bool receive_list() {
    ListHead head;
    const bool got = reception_.receive_all(mesh_.control[0], std::as_writable_bytes(std::span(&head, 1)), end_) &&
                     head.magic == kAnswerMagic &&
                     reception_.receive_all(mesh_.control[0], std::as_writable_bytes(std::span(rows_)), end_);
    if (got) token_ = head.token;
    if (!got) last_ = "rank 0 closed the connection, or waits for other ranks";
    return got;
  }

  void connect_below(const Address& rank_0) {
    for (std::size_t r = 0; r < rank_; ++r) {
      std::vector<Address> ways{rank_0};
      if (r > 0) {
        ways.clear();
        std::istringstream list(rows_[r].addresses.text());
        for (std::string address; list >> address;) ways.push_back({address, static_cast<int>(rows_[r].port)});
      }
      const auto connected = [&](Socket& place, Purpose purpose) {
        return place ||
               std::any_of(ways.begin(), ways.end(), [&](const Address& at) { return greet(at, purpose, place); });
      };
      while (!connected(mesh_.data[r], Purpose::data) || !connected(mesh_.control[r], Purpose::control)) {
        require_whole_ranks();
        if (!pause()) {
          raise<RankLost>("rank ", rank_, " of ", size_, " could not be connected with rank ", r, " within ", limit_s_,
                          " s (--timeout); last: ", last_, "; the hosts of a job must reach each other at any port");
        }
      }
    }
  }

  [[noreturn]] void raise_unknown_host() const {
    raise<IoError>(launch_.launcher, ": MASTER_ADDR must be the name or address of the host of rank 0; got ",
                   place_.host, ", which is not known here; correct it");
  }

  // --- All.

  bool whole() const {
    for (std::size_t r = 0; r < size_; ++r) {
      if (r != rank_ && (!mesh_.data[r] || !mesh_.control[r])) return false;
    }
    return true;
  }
  void require_whole_ranks() const {
    for (std::size_t r = 0; r < size_; ++r) {
      if (!mesh_.control[r] || !Reception::ended(mesh_.control[r])) continue;
      raise<RankLost>("rank ", r, " of ", size_,
                      " is gone: its connection ended while the ranks were being connected; ", "start the job again");
    }
  }
  [[noreturn]] void raise_unconnected() const {
    for (std::size_t r = 0; r < size_; ++r) {
      if (r == rank_ || (mesh_.data[r] && mesh_.control[r])) continue;
      raise<RankLost>("rank ", rank_, " of ", size_, ": rank ", r, " did not connect within ", limit_s_,
                      " s (--timeout); the hosts of a job must reach each other at any port");
    }
    MIXGRAD_ASSERT(false, "some rank is not connected");
  }

  const Launch launch_;
  const std::size_t rank_, size_;
  const double limit_s_;
  const Clock::time_point end_;
  const MeetingPlace place_;
  std::string identity_;       // of the meeting
  Identity token_;             // of the connections that follow; empty until the list is there
  std::vector<ListRow> rows_;  // where each rank listens
  std::string here_;           // the address at which this rank listens
  Mesh mesh_;
  Reception reception_;
  bool met_ = false;          // rank 0 has welcomed this rank, once at least
  std::string where_, last_;  // for messages: the place of the meeting, and how the last attempt ended
};

}  // namespace

Mesh connect_ranks(const Launch& launch, const JoinOptions& options) {
  if (launch.size > kMostRanks) {
    raise<ValueError>(launch.launcher, ": TCP connects each pair of at most ", kMostRanks, " processes; got ",
                      launch.size, "; use a build with MPI, and mpirun or srun");
  }
  return Rendezvous(launch, options).run();
}

}  // namespace mixgrad::tcp

#endif
