#include "nn/distributed/tcp_sockets.h"

#if !defined(__EMSCRIPTEN__)

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

namespace mixgrad::tcp {
namespace {

constexpr int kWaiting = 1024;  // connections that the system keeps until they are accepted

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t bytes = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

using AddressList = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

AddressList look_up(const std::string& host, const std::string& port, int flags) {
  addrinfo wanted{};
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = flags;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), port.empty() ? nullptr : port.c_str(), &wanted, &found) != 0) found = nullptr;
  return {found, &::freeaddrinfo};
}

// Of a numeric address.
bool fill(SocketAddress& to, const Address& from) {
  const AddressList found = look_up(from.host, std::to_string(from.port), AI_NUMERICHOST | AI_NUMERICSERV);
  if (!found) {
    errno = EINVAL;
    return false;
  }
  std::memcpy(&to.storage, found->ai_addr, found->ai_addrlen);
  to.bytes = found->ai_addrlen;
  return true;
}

Address text_of(const sockaddr* address, socklen_t bytes) {
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (::getnameinfo(address, bytes, host.data(), host.size(), port.data(), port.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return {};
  }
  return {host.data(), std::atoi(port.data())};
}

Socket open_socket(int family) {
  Socket socket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (socket) ::setsockopt(socket.descriptor(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  // Also of one that connects: it may be given the very port to which it connects, and must not keep it from rank 0.
  if (socket) ::setsockopt(socket.descriptor(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  return socket;
}

Socket listen_on(const SocketAddress& at) {
  Socket socket = open_socket(at.storage.ss_family);
  if (!socket) return socket;
  const int on = 1;
  if (at.storage.ss_family == AF_INET6) ::setsockopt(socket.descriptor(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(socket.descriptor(), at.get(), at.bytes) == 0 && ::listen(socket.descriptor(), kWaiting) == 0) {
    return socket;
  }
  const int error = errno;
  socket.close();
  errno = error;
  return socket;
}

// What is left of the parts behind the first `done` bytes.
struct Rest {
  std::array<iovec, 2> pieces{};
  msghdr message{};
  std::size_t bytes = 0;

  Rest(const Parts& parts, std::size_t done) {
    message.msg_iov = pieces.data();
    for (const Part& part : parts) {
      const std::size_t skipped = std::min(done, part.bytes);
      done -= skipped;
      if (skipped == part.bytes) continue;
      pieces[message.msg_iovlen++] = {part.data + skipped, part.bytes - skipped};
      bytes += part.bytes - skipped;
    }
  }
  Rest(const Rest&) = delete;
  Rest& operator=(const Rest&) = delete;
};

Moved moved(ssize_t bytes, std::size_t& done) {
  if (bytes < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? Moved::nothing : Moved::ended;
  if (bytes == 0) return Moved::ended;
  done += static_cast<std::size_t>(bytes);
  return Moved::some;
}

}  // namespace

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this == &other) return *this;
  close();
  descriptor_ = other.descriptor_;
  other.descriptor_ = -1;
  return *this;
}

void Socket::close() noexcept {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

std::vector<std::string> addresses_of(const std::string& host) {
  std::vector<std::string> all;
  const AddressList found = look_up(host, "", 0);
  for (const addrinfo* each = found.get(); each != nullptr; each = each->ai_next) {
    const std::string text = text_of(each->ai_addr, each->ai_addrlen).host;
    if (!text.empty() && std::find(all.begin(), all.end(), text) == all.end()) all.push_back(text);
  }
  return all;
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> all, loopback;
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return {"127.0.0.1"};
  for (const ifaddrs* each = first; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || (each->ifa_flags & IFF_UP) == 0) continue;
    const int family = each->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    const std::string text =
        text_of(each->ifa_addr, family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6)).host;
    if (text.empty() || text.find('%') != std::string::npos) continue;  // an address of one link, known to it alone
    ((each->ifa_flags & IFF_LOOPBACK) != 0 ? loopback : all).push_back(text);
  }
  ::freeifaddrs(first);
  all.insert(all.end(), loopback.begin(), loopback.end());
  return all;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.") || host == "ip6-localhost";
}

std::string own_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "this host";
  return name.data();
}

Socket listen_at(const std::string& address, int port) {
  SocketAddress at;
  if (!fill(at, {address, port})) return {};
  return listen_on(at);
}

std::vector<Socket> listen_everywhere(int port) {
  std::vector<Socket> all;
  for (const char* any : {"0.0.0.0", "::"}) {
    Socket socket = listen_at(any, all.empty() ? port : own_end(all[0]).port);
    if (socket) all.push_back(std::move(socket));
    if (all.empty() && errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL) break;
  }
  return all;
}

Socket begin_to_connect(const Address& to) {
  SocketAddress at;
  if (!fill(at, to)) return {};
  Socket socket = open_socket(at.storage.ss_family);
  if (!socket || ::connect(socket.descriptor(), at.get(), at.bytes) == 0 || errno == EINPROGRESS) return socket;
  const int error = errno;
  socket.close();
  errno = error;
  return socket;
}

int error_of(const Socket& socket) {
  int error = 0;
  socklen_t bytes = sizeof error;
  if (::getsockopt(socket.descriptor(), SOL_SOCKET, SO_ERROR, &error, &bytes) != 0) return errno;
  return error;
}

Socket accept_at(const Socket& listener) {
  Socket socket(::accept4(listener.descriptor(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  const int on = 1;
  if (socket) ::setsockopt(socket.descriptor(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

Address own_end(const Socket& socket) {
  SocketAddress at;
  at.bytes = sizeof at.storage;
  if (::getsockname(socket.descriptor(), at.get(), &at.bytes) != 0) return {};
  return text_of(at.get(), at.bytes);
}

Moved send_some(const Socket& socket, const Parts& parts, std::size_t& done) {
  Rest rest(parts, done);
  if (rest.bytes == 0) return Moved::nothing;
  return moved(::sendmsg(socket.descriptor(), &rest.message, MSG_NOSIGNAL), done);
}

Moved receive_some(const Socket& socket, const Parts& parts, std::size_t& done) {
  Rest rest(parts, done);
  if (rest.bytes == 0) return Moved::nothing;
  return moved(::recvmsg(socket.descriptor(), &rest.message, 0), done);
}

}  // namespace mixgrad::tcp

#endif
