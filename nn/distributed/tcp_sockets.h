// Sockets of TCP as the communicator needs them: none blocks, and none outlives the process that has it.
//
//   Socket listener = listen_at("10.0.0.1", 29500);          // errno says why there is none
//   Socket socket = begin_to_connect({"10.0.0.1", 29500});   // can be written to once it is connected
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace mixgrad::tcp {

class Socket {
 public:
  Socket() = default;
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  ~Socket() { close(); }
  Socket(Socket&& other) noexcept : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  Socket& operator=(Socket&& other) noexcept;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  explicit operator bool() const { return descriptor_ >= 0; }
  int descriptor() const { return descriptor_; }
  void close() noexcept;

 private:
  int descriptor_ = -1;
};

// An address of a host, "10.0.0.1" or "fe80::1%eth0", with a port.
struct Address {
  std::string host;
  int port = 0;
};

std::vector<std::string> addresses_of(const std::string& host);  // of a name or an address; empty: it is not known
std::vector<std::string> own_addresses();                        // of this host: those of its network first
bool is_loopback(const std::string& host);                       // "127.0.0.1", "::1", and names for them
std::string own_name();                                          // of this host, for messages

// Sockets that are not open have errno set.
Socket listen_at(const std::string& address, int port);  // port 0: one that is free
std::vector<Socket> listen_everywhere(int port);         // IPv4, and IPv6 where the host has it, at one port
Socket begin_to_connect(const Address& to);
int error_of(const Socket& socket);  // errno of a connection that was begun; 0: it is there
Socket accept_at(const Socket& listener);

Address own_end(const Socket& socket);

struct Part {
  std::byte* data = nullptr;
  std::size_t bytes = 0;
};
using Parts = std::array<Part, 2>;                         // one after the other
enum class Moved : std::uint8_t { some, nothing, ended };  // nothing: it would have to wait
// One call of the system: `done`, of the bytes of both parts together, grows by what was moved.
Moved send_some(const Socket& socket, const Parts& parts, std::size_t& done);
Moved receive_some(const Socket& socket, const Parts& parts, std::size_t& done);

}  // namespace mixgrad::tcp
