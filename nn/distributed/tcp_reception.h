// Those who connect to this rank while the ranks of a job are being connected: it listens to all of them at the same
// time, whatever else it waits for, and drops who does not say at once what a rank of this job says.
//
//   tcp::Reception reception([&](const tcp::Greeting& said) { return admit(said); });
//   reception.listen_at(std::move(listeners));
//   while (!all_there() && reception.wait(nullptr, 0, end)) {}
//
// What is said are structures of fixed size, so that no length that comes from outside is trusted, in the byte order of
// the host: one of another order has another magic number.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "nn/distributed/tcp_sockets.h"

namespace mixgrad::tcp {

inline constexpr std::uint64_t kGreetingMagic = 0x6d69786772616431U, kAnswerMagic = 0x6d69786772616432U;
inline constexpr std::uint32_t kProtocol = 1;

template <std::size_t N>
struct FixedText {
  std::array<char, N> bytes{};

  FixedText() = default;
  explicit FixedText(std::string_view text) { std::memcpy(bytes.data(), text.data(), std::min(text.size(), N - 1)); }
  std::string text() const { return {bytes.data(), ::strnlen(bytes.data(), N)}; }
  bool operator==(const FixedText&) const = default;
};
using Identity = FixedText<128>;
using AddressText = FixedText<504>;  // separated by blanks

enum class Purpose : std::uint32_t { meet = 1, data, control };

struct Greeting {
  std::uint64_t magic = kGreetingMagic;
  std::uint32_t protocol = kProtocol;
  Purpose purpose = Purpose::meet;
  std::uint32_t size = 0, rank = 0;
  Identity identity;       // of the job, from the launcher or the meeting file; later the token
  std::uint32_t port = 0;  // at which it listens, 0 = not at all
  AddressText addresses;   // where
  std::uint32_t unused = 0;
};

enum class Verdict : std::uint32_t { welcome = 1, other_protocol, other_job, other_size, rank_taken };
inline const char* text_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::welcome: return "welcome";
    case Verdict::other_protocol: return "another version of mixgrad listens there";
    case Verdict::other_job: return "another job listens there";
    case Verdict::other_size: return "a job with another number of processes listens there";
    case Verdict::rank_taken: return "a process with the same rank came there before";
  }
  return "an answer that is not known";
}

struct Answer {
  std::uint64_t magic = kAnswerMagic;
  Verdict verdict = Verdict::welcome;
  std::uint32_t unused = 0;
};

// The list that rank 0 sends: this, and a row of each rank.
struct ListHead {
  std::uint64_t magic = kAnswerMagic;
  Identity token;
};
struct ListRow {
  std::uint32_t port = 0;
  AddressText addresses;
};

// No byte of them is without a meaning, so none that was in memory before is sent.
static_assert(std::has_unique_object_representations_v<Greeting> && std::has_unique_object_representations_v<Answer> &&
              std::has_unique_object_representations_v<ListHead> && std::has_unique_object_representations_v<ListRow>);

class Reception {
 public:
  using Time = std::chrono::steady_clock::time_point;
  struct Admission {
    Verdict verdict;
    Socket* place = nullptr;  // where a connection is kept that is welcome
    bool later = false;       // it cannot be said yet
  };
  using Admit = std::function<Admission(const Greeting& said)>;
  Reception(std::size_t ranks, Admit admit);

  void listen_at(std::vector<Socket> listeners) { listeners_ = std::move(listeners); }
  const std::vector<Socket>& listeners() const { return listeners_; }

  // Returns soon, at the latest after a twentieth of a second, when `socket` (null: none) has one of the events of
  // poll(), or somebody came: whether it is before `until`. Interrupted; IoError without room for more connections.
  bool wait(const Socket* socket, short events, Time until);
  // Whether all of it was moved before `until`.
  bool receive_all(const Socket& socket, std::span<std::byte> into, Time until);
  bool send_all(const Socket& socket, std::span<const std::byte> from, Time until);

  // Whether the other side has closed the connection, and all that it sent was read.
  static bool ended(const Socket& socket);

 private:
  struct Guest {
    Socket socket;
    Greeting said;
    std::size_t got = 0;
    Time since;
  };
  void receive_guests();
  bool stays(Guest& guest) const;

  std::size_t most_guests_;
  Admit admit_;
  std::vector<Socket> listeners_;
  std::vector<Guest> guests_;
};

template <class T>
std::span<const std::byte> bytes_of_struct(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace mixgrad::tcp
