#include "nn/distributed/tcp_meeting.h"

#if !defined(__EMSCRIPTEN__)

#include <array>
#include <cstdint>
#include <random>
#include <sstream>
#include <system_error>
#include <utility>

#include "core/text/parse_number.h"
#include "nn/files/file.h"

namespace mixgrad::tcp {
namespace {

namespace fs = std::filesystem;
constexpr const char* kNoteHead = "mixgrad ranks.meet 1";
constexpr std::size_t kMostNoteBytes = 8192, kMostAddresses = 32;

}  // namespace

MeetingPlace meeting_place(const Launch& launch, const fs::path& folder) {
  const bool has_address = !launch.address.empty(), has_port = launch.port != 0;
  if (has_address && has_port) return {.host = launch.address, .ports = meeting_ports(launch)};
  if (has_address != has_port) {
    raise<ValueError>(launch.launcher, ": the environment variables MASTER_ADDR, the host of rank 0, and MASTER_PORT, ",
                      "a free port there, are required together; got ", has_address ? "MASTER_ADDR" : "MASTER_PORT",
                      " alone; set both on every rank, or neither");
  }
  if (!folder.empty()) return {.file = folder / "ranks.meet"};
  raise<ValueError>(
      launch.launcher, ": ", launch.size, " processes that TCP connects need a place to meet: MASTER_ADDR ",
      "(the host of rank 0) and MASTER_PORT (a free port there) in the environment, or a run's folder ",
      "that all of them see (--out, --resume, --checkpoint); got neither; set both variables on every ", "rank");
}

std::string note_text(const MeetingNote& note) {
  std::string text = std::string(kNoteHead) + "\n" + note.identity + "\n" + std::to_string(note.port) + "\n";
  for (const std::string& address : note.addresses) text += address + "\n";
  return text;
}

std::optional<MeetingNote> parse_note(const std::string& text) {
  if (!text.ends_with('\n')) return std::nullopt;
  std::istringstream lines(text);
  std::string head, port;
  MeetingNote note;
  if (!std::getline(lines, head) || head != kNoteHead) return std::nullopt;
  if (!std::getline(lines, note.identity) || note.identity.size() != 32) return std::nullopt;
  if (!std::getline(lines, port)) return std::nullopt;
  const std::optional<std::int64_t> number = parse_integer(port);
  if (!number || *number < 1 || *number > 65535) return std::nullopt;
  note.port = static_cast<int>(*number);
  for (std::string address; std::getline(lines, address) && note.addresses.size() < kMostAddresses;) {
    if (!address.empty() && address.size() <= 64) note.addresses.push_back(address);
  }
  return note;
}

std::optional<MeetingNote> read_note(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return std::nullopt;
  try {
    return parse_note(read_text(file, kMostNoteBytes));
  } catch (const Error&) {  // it has just been removed, or is no note: it is looked for again
    return std::nullopt;
  }
}

std::string random_identity() {
  std::random_device source;
  std::string text;
  while (text.size() < 32) {
    for (std::uint32_t bits = source(), digit = 0; digit < 8; ++digit, bits >>= 4U)
      text += "0123456789abcdef"[bits & 15U];
  }
  return text;
}

MeetingFile::MeetingFile(fs::path file) : file_(std::move(file)) {
  std::error_code error;
  if (!file_.empty()) fs::remove(file_, error);
}

MeetingFile::~MeetingFile() {
  std::error_code error;
  if (!file_.empty()) fs::remove(file_, error);
  for (const fs::path& folder : made_) fs::remove(folder, error);  // unless something is in it
}

void MeetingFile::write(const MeetingNote& note) {
  std::error_code error;
  for (fs::path folder = fs::absolute(file_).parent_path(); !fs::exists(folder, error); folder = folder.parent_path()) {
    made_.push_back(folder);
    if (folder == folder.parent_path()) break;
  }
  make_folder(file_.parent_path());
  write_file_atomic(file_, note_text(note));
}

}  // namespace mixgrad::tcp

#endif
