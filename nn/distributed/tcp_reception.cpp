#include "nn/distributed/tcp_reception.h"

#if !defined(__EMSCRIPTEN__)

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/system/interrupt.h"

namespace mixgrad::tcp {
namespace {

constexpr std::chrono::seconds kGreetingTime{5};  // in which a peer has to say who it is
constexpr std::size_t kMostStrangers = 64;
constexpr int kWaitMs = 50;

}  // namespace

Reception::Reception(std::size_t ranks, Admit admit)
    : most_guests_(kMostStrangers + 2 * ranks), admit_(std::move(admit)) {}

bool Reception::wait(const Socket* socket, short events, Time until) {
  std::vector<pollfd> all;
  if (socket != nullptr) all.push_back({socket->descriptor(), events, 0});
  for (const Socket& listener : listeners_) all.push_back({listener.descriptor(), POLLIN, 0});
  for (const Guest& guest : guests_) {
    if (guest.got < sizeof guest.said) all.push_back({guest.socket.descriptor(), POLLIN, 0});
  }
  ::poll(all.data(), all.size(), kWaitMs);
  check_interrupt();
  receive_guests();
  return std::chrono::steady_clock::now() < until;
}

void Reception::receive_guests() {
  const Time now = std::chrono::steady_clock::now();
  for (const Socket& listener : listeners_) {
    for (;;) {
      Socket socket = accept_at(listener);
      if (!socket && (errno == EMFILE || errno == ENFILE)) {
        raise<IoError>("joining a job: each rank takes two connections to every other; got: ", std::strerror(errno),
                       "; allow more open files (ulimit -n)");
      }
      if (!socket) break;
      guests_.push_back({.socket = std::move(socket), .said = {}, .got = 0, .since = now});
    }
  }
  std::vector<Guest> staying;
  for (Guest& guest : guests_) {
    if (stays(guest)) staying.push_back(std::move(guest));
  }
  guests_ = std::move(staying);
  while (guests_.size() > most_guests_) guests_.erase(guests_.begin());
}

bool Reception::stays(Guest& guest) const {
  auto* bytes = reinterpret_cast<std::byte*>(&guest.said);
  Moved moved = Moved::some;
  while (moved == Moved::some) moved = receive_some(guest.socket, {{{bytes, sizeof guest.said}}}, guest.got);
  if (moved == Moved::ended) return false;
  if (guest.got >= sizeof guest.said.magic && guest.said.magic != kGreetingMagic) return false;
  if (guest.got < sizeof guest.said) return std::chrono::steady_clock::now() - guest.since < kGreetingTime;
  const Admission admission = admit_(guest.said);
  if (admission.later) return true;
  Answer answer{.verdict = admission.verdict};
  std::size_t done = 0;
  send_some(guest.socket, {{{reinterpret_cast<std::byte*>(&answer), sizeof answer}}}, done);
  const bool welcome = admission.verdict == Verdict::welcome && done == sizeof answer;
  if (welcome) *admission.place = std::move(guest.socket);
  return false;
}

bool Reception::ended(const Socket& socket) {
  char byte = 0;
  const ssize_t got = ::recv(socket.descriptor(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

bool Reception::receive_all(const Socket& socket, std::span<std::byte> into, Time until) {
  std::size_t done = 0;
  while (done < into.size()) {
    const Moved moved = receive_some(socket, {{{into.data(), into.size()}}}, done);
    if (moved == Moved::ended || (moved == Moved::nothing && !wait(&socket, POLLIN, until))) return false;
  }
  return true;
}

bool Reception::send_all(const Socket& socket, std::span<const std::byte> from, Time until) {
  std::size_t done = 0;
  while (done < from.size()) {
    const Moved moved = send_some(socket, {{{const_cast<std::byte*>(from.data()), from.size()}}}, done);
    if (moved == Moved::ended || (moved == Moved::nothing && !wait(&socket, POLLOUT, until))) return false;
  }
  return true;
}

}  // namespace mixgrad::tcp

#endif
