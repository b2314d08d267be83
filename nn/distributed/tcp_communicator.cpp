#include "nn/distributed/tcp_communicator.h"

#include "nn/distributed/tcp_rendezvous.h"

#if !defined(__EMSCRIPTEN__)

#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <optional>
#include <utility>

namespace mixgrad {
namespace {

using Clock = std::chrono::steady_clock;
using tcp::Moved;
using tcp::Socket;

// Letters: the messages beside the calls, of a kind, a length and a text.
enum class LetterKind : std::uint8_t { leaves = 1, roll_call, farewell };
struct LetterHead {
  LetterKind kind = LetterKind::farewell;
  std::uint8_t unused = 0;
  std::uint16_t bytes = 0;
};
constexpr std::size_t kMostWords = 1000;
constexpr std::chrono::milliseconds kRollTime{1000};      // in which the others answer a roll call
constexpr std::chrono::milliseconds kLastWordsTime{500};  // in which they hear why this rank leaves
constexpr std::chrono::milliseconds kEndTime{1000};       // in which it shows why a connection for data has ended
constexpr int kSpins = 100;                               // most waits are short

// What stands before the bytes of each call, so that ranks which are at different calls notice it.
struct CallHead {
  std::uint64_t call = 0, bytes = 0;
};

// Bytes in one direction: a head, then those of the caller.
struct Stream {
  CallHead head;  // as it is sent; of one that is received, as it must be
  CallHead got;
  std::byte* data = nullptr;
  std::size_t bytes = 0, done = 0;  // done: of both together
  bool needed = false;              // in this call
  bool ended = false;               // the connection, for ever

  void begin(std::uint64_t call, std::byte* begin, std::int64_t count) {
    data = begin;
    bytes = static_cast<std::size_t>(count);
    head = {call, bytes};
    done = 0;
    needed = count > 0;
  }
  bool waits() const { return needed && done < sizeof head + bytes; }

  bool send(const Socket& socket) {
    if (!waits() || ended) return false;
    return note(tcp::send_some(socket, {{{bytes_of(head), sizeof head}, {data, bytes}}}, done));
  }
  bool receive(const Socket& socket) {
    if (!waits() || ended) return false;
    return note(tcp::receive_some(socket, {{{bytes_of(got), sizeof got}, {data, bytes}}}, done));
  }
  bool is_other_call() const { return done >= sizeof got && (got.call != head.call || got.bytes != head.bytes); }

 private:
  static std::byte* bytes_of(CallHead& head) { return reinterpret_cast<std::byte*>(&head); }
  bool note(Moved moved) {
    ended = moved == Moved::ended;
    return moved == Moved::some;
  }
};

struct Peer {
  Socket data, control;
  Stream out, in;
  // What it has said beside the calls.
  std::array<std::byte, sizeof(LetterHead) + kMostWords> letter{};
  std::size_t letter_done = 0;
  std::optional<std::string> reason;  // why it leaves
  bool roll_called = false, said_farewell = false;
  bool silent = false;  // nothing more comes from it

  bool waits() const { return out.waits() || in.waits(); }
  bool stuck() const { return (out.waits() && out.ended) || (in.waits() && in.ended); }
  bool gone() const { return silent && !reason && !said_farewell; }
};

class TcpCommunicator final : public Communicator {
 public:
  TcpCommunicator(const Launch& launch, const JoinOptions& options, tcp::Mesh mesh)
      : Communicator(launch.rank, launch.size),
        peers_(static_cast<std::size_t>(launch.size)),
        timeout_(options.timeout),
        uncaught_(std::uncaught_exceptions()) {
    for (std::size_t r = 0; r < peers_.size(); ++r) {
      peers_[r].data = std::move(mesh.data[r]);
      peers_[r].control = std::move(mesh.control[r]);
    }
  }

  ~TcpCommunicator() override {
    if (std::uncaught_exceptions() > uncaught_) leave("it ended with an error");
    if (!told_) send_letters(LetterKind::farewell, "");
  }
  TcpCommunicator(const TcpCommunicator&) = delete;
  TcpCommunicator& operator=(const TcpCommunicator&) = delete;

  std::string transport() const override { return "TCP"; }
  std::chrono::duration<double> timeout() const override { return timeout_; }

  bool leave(const std::string& reason) noexcept override {
    if (left_) return false;
    left_ = told_ = true;
    abandon_devices();
    const std::string words = reason.substr(0, kMostWords);
    send_letters(LetterKind::leaves, words);
    // A launcher that sees this process end may end the others, too: they get time to say what they have to.
    read_letters_for(kLastWordsTime, [](const Peer& peer) { return peer.silent || peer.reason || peer.said_farewell; });
    return !leads() && peers_[0].reason == words;
  }

  void check_others(const std::string& where) override {
    read_letters();
    for (std::size_t r = 0; r < peers_.size(); ++r) {
      if (!peers_[r].reason) continue;
      give_up();
      raise<RankLost>("rank ", r, " of ", size(), " stopped: ", *peers_[r].reason);
    }
    for (std::size_t r = 0; r < peers_.size(); ++r) {
      if (!is_self(r) && peers_[r].gone()) raise_gone(r);
    }
    for (const Peer& peer : peers_) {
      if (peer.roll_called) report_missing(where);
    }
  }

  [[noreturn]] void report_missing(const std::string& where) override {
    send_letters(LetterKind::roll_call, "");
    read_letters_for(kRollTime, [](const Peer& peer) { return peer.silent || peer.roll_called; });
    std::string missing;
    for (std::size_t r = 0; r < peers_.size(); ++r) {
      if (is_self(r) || peers_[r].roll_called) continue;
      missing += (missing.empty() ? "rank " : " and rank ") + std::to_string(r);
    }
    give_up();
    if (missing.empty()) {
      raise<RankLost>("all ranks of ", size(), " answer, but one came to ", where, " later than ", timeout_.count(),
                      " s (--timeout) after another; start the job again with a larger --timeout; a run is resumed ",
                      "from its last checkpoint");
    }
    raise<RankLost>(missing, " of ", size(), " did not take part in ", where, " within ", timeout_.count(),
                    " s (--timeout); it was killed, hangs, or is slower than that; start the job again; a run is ",
                    "resumed from its last checkpoint");
  }

 protected:
  void gather_bytes(std::span<const std::byte> own, std::span<std::byte> all,
                    std::span<const std::int64_t> counts) override {
    ++call_;
    std::byte* place = all.data();
    for (std::size_t r = 0; r < peers_.size(); ++r) {
      if (is_self(r)) std::copy(own.begin(), own.end(), place);
      if (!is_self(r)) {
        peers_[r].out.begin(call_, const_cast<std::byte*>(own.data()), static_cast<std::int64_t>(own.size()));
        peers_[r].in.begin(call_, place, counts[r]);
      }
      place += counts[r];
    }
    move_all();
  }

  void exchange_bytes(std::span<const std::byte> sent, std::span<const std::int64_t> sent_counts,
                      std::span<std::byte> received, std::span<const std::int64_t> received_counts) override {
    ++call_;
    auto* from = const_cast<std::byte*>(sent.data());
    std::byte* to = received.data();
    for (std::size_t r = 0; r < peers_.size(); ++r) {
      if (is_self(r)) std::copy_n(from, sent_counts[r], to);
      if (!is_self(r)) {
        peers_[r].out.begin(call_, from, sent_counts[r]);
        peers_[r].in.begin(call_, to, received_counts[r]);
      }
      from += sent_counts[r];
      to += received_counts[r];
    }
    move_all();
  }

  void sum_any(const Tensor& values) override { sum_in_rank_order(values); }

 private:
  bool is_self(std::size_t r) const { return static_cast<int>(r) == rank(); }

  // --- Data: to and from all peers at the same time, so that no full buffer stops both sides.

  void move_all() {
    Clock::time_point progress = Clock::now();
    std::optional<Clock::time_point> stuck_since;
    for (int idle = 0;; ++idle) {
      bool moved = false;
      for (Peer& peer : peers_) moved |= move_some(peer);
      if (std::none_of(peers_.begin(), peers_.end(), [](const Peer& peer) { return peer.waits(); })) return;
      if (moved) {
        progress = Clock::now();
        idle = 0;
        continue;
      }
      if (idle < kSpins) {
        sched_yield();
        continue;
      }
      check_others(doing());
      const Clock::time_point now = Clock::now();
      const auto stuck = std::find_if(peers_.begin(), peers_.end(), [](const Peer& peer) { return peer.stuck(); });
      if (stuck == peers_.end()) stuck_since.reset();
      if (stuck != peers_.end() && !stuck_since) stuck_since = now;
      if (stuck_since && now - *stuck_since > kEndTime) raise_gone(static_cast<std::size_t>(stuck - peers_.begin()));
      if (now - progress > timeout_) report_missing(doing());
      wait_for_sockets(stuck_since ? 10 : 100);
    }
  }

  bool move_some(Peer& peer) {
    const bool sent = peer.out.send(peer.data), received = peer.in.receive(peer.data);
    if (received && peer.in.is_other_call()) raise_other_call(peer);
    return sent || received;
  }

  void wait_for_sockets(int milliseconds) const {
    std::vector<pollfd> all;
    for (const Peer& peer : peers_) {
      short events = 0;
      if (peer.out.waits() && !peer.out.ended) events |= POLLOUT;
      if (peer.in.waits() && !peer.in.ended) events |= POLLIN;
      if (events != 0) all.push_back({peer.data.descriptor(), events, 0});
      if (peer.control && !peer.silent) all.push_back({peer.control.descriptor(), POLLIN, 0});
    }
    ::poll(all.data(), all.size(), milliseconds);
  }

  // --- Letters.

  void read_letters() {
    for (Peer& peer : peers_) {
      if (!peer.control) continue;  // this rank
      bool more = !peer.silent;
      while (more) more = read_letter(peer);
    }
  }

  // Whether there may be more.
  static bool read_letter(Peer& peer) {
    LetterHead head;
    const bool has_head = peer.letter_done >= sizeof head;
    if (has_head) std::memcpy(&head, peer.letter.data(), sizeof head);
    const Moved moved = tcp::receive_some(
        peer.control, {{{peer.letter.data(), sizeof head + (has_head ? head.bytes : 0U)}}}, peer.letter_done);
    if (peer.letter_done >= sizeof head) std::memcpy(&head, peer.letter.data(), sizeof head);
    peer.silent = moved == Moved::ended || head.bytes > kMostWords;  // no letter of ours is longer
    if (moved != Moved::some || peer.silent) return false;
    if (peer.letter_done == sizeof head + head.bytes && peer.letter_done >= sizeof head) take_letter(peer, head);
    return true;
  }

  static void take_letter(Peer& peer, const LetterHead& head) {
    peer.letter_done = 0;
    if (head.kind == LetterKind::leaves) {
      peer.reason.emplace(reinterpret_cast<const char*>(peer.letter.data()) + sizeof head, head.bytes);
    }
    peer.roll_called |= head.kind == LetterKind::roll_call;
    peer.said_farewell |= head.kind == LetterKind::farewell;
  }

  // Until `enough` holds for every other rank, at most for `time`.
  template <class Enough>
  void read_letters_for(std::chrono::milliseconds time, const Enough& enough) {
    const Clock::time_point end = Clock::now() + time;
    for (;;) {
      read_letters();
      bool all = true;
      for (std::size_t r = 0; r < peers_.size(); ++r) all &= is_self(r) || enough(peers_[r]);
      if (all || Clock::now() >= end) return;
      std::vector<pollfd> waited_for;
      for (const Peer& peer : peers_) {
        if (peer.control && !peer.silent) waited_for.push_back({peer.control.descriptor(), POLLIN, 0});
      }
      ::poll(waited_for.data(), waited_for.size(), 10);
    }
  }

  // They are short, so the system takes them at once. One that it does not take says no more than a silent connection.
  void send_letters(LetterKind kind, const std::string& words) noexcept {
    LetterHead head{.kind = kind, .bytes = static_cast<std::uint16_t>(words.size())};
    std::string text = words;
    for (const Peer& peer : peers_) {
      std::size_t done = 0;
      if (!peer.control) continue;  // this rank
      tcp::send_some(peer.control,
                     {{{reinterpret_cast<std::byte*>(&head), sizeof head},
                       {reinterpret_cast<std::byte*>(text.data()), text.size()}}},
                     done);
    }
  }

  // --- Ends.

  // This rank goes because of another one, which all others know or will find out themselves.
  void give_up() {
    left_ = true;
    abandon_devices();
  }

  [[noreturn]] void raise_gone(std::size_t r) {
    give_up();
    if (peers_[r].said_farewell) {
      raise<RankLost>("rank ", r, " of ", size(), " ended its part of the job before ", doing(),
                      "; start every rank with the same program and options");
    }
    raise<RankLost>("rank ", r, " of ", size(), " is gone: its connection ended without a farewell; it was killed, or ",
                    "its host or the network failed; start the job again; a run is resumed from its last checkpoint");
  }

  [[noreturn]] void raise_other_call(const Peer& peer) {
    give_up();
    raise<RankLost>("rank ", &peer - peers_.data(), " of ", size(), " is at another call: ", doing(), " is call ",
                    peer.in.head.call, " with ", peer.in.head.bytes, " bytes from it; got call ", peer.in.got.call,
                    " with ", peer.in.got.bytes, " bytes; start every rank with the same program and options");
  }

  std::vector<Peer> peers_;
  std::chrono::duration<double> timeout_;
  int uncaught_;
  std::uint64_t call_ = 0;
  bool left_ = false;  // with an error, of this rank or another
  bool told_ = false;  // all others why
};

}  // namespace

std::unique_ptr<Communicator> join_tcp(const Launch& launch, const JoinOptions& options) {
  return std::make_unique<TcpCommunicator>(launch, options, tcp::connect_ranks(launch, options));
}

}  // namespace mixgrad

#else

namespace mixgrad {

std::unique_ptr<Communicator> join_tcp(const Launch& launch, const JoinOptions&) {
  raise<ValueError>(launch.launcher, ": several processes need sockets, and this build for a browser has none");
}

}  // namespace mixgrad

#endif
