// Where the processes of a job that are connected by TCP find one another: at the address that MASTER_ADDR and
// MASTER_PORT give, or by the file `ranks.meet` in the folder of the run, in which rank 0 says where it listens.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "nn/distributed/communicator.h"
#include "nn/distributed/tcp_sockets.h"

namespace mixgrad::tcp {

struct MeetingPlace {
  std::string host = {};            // MASTER_ADDR; empty: the file says where
  std::vector<int> ports = {};      // to be tried in this order
  std::filesystem::path file = {};  // ranks.meet; empty: MASTER_ADDR
};
// ValueError, with both ways, where there is neither.
MeetingPlace meeting_place(const Launch& launch, const std::filesystem::path& folder);

// What rank 0 writes into the file.
struct MeetingNote {
  std::string identity = {};  // drawn at random: an address that another job left is not taken for this one
  std::vector<std::string> addresses = {};  // of the host of rank 0
  int port = 0;
};
std::string note_text(const MeetingNote& note);
std::optional<MeetingNote> parse_note(const std::string& text);  // nothing: the file is none of these
std::optional<MeetingNote> read_note(const std::filesystem::path& file);

std::string random_identity();  // 32 hexadecimal digits

// The file of rank 0, which is removed with this object, and with it the folders that had to be made.
class MeetingFile {
 public:
  explicit MeetingFile(std::filesystem::path file);  // removes one that is left from another job
  ~MeetingFile();
  MeetingFile(const MeetingFile&) = delete;
  MeetingFile& operator=(const MeetingFile&) = delete;

  void write(const MeetingNote& note);  // IoError

 private:
  std::filesystem::path file_;
  std::vector<std::filesystem::path> made_;  // folders, the innermost first
};

}  // namespace mixgrad::tcp
