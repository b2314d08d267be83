// Where processes that TCP connects meet, and what rank 0 writes for the others. The rest runs as processes
// (tests/distributed/tcp.sh).
#include "nn/distributed/tcp_meeting.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "nn/distributed/tcp_rendezvous.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

std::string refused_place(const Launch& launch, const fs::path& folder) {
  return error_of<ValueError>([&] { tcp::meeting_place(launch, folder); });
}

TEST_CASE("tcp meeting: the address counts, then the folder of the run") {
  const Launch launch{.launcher = "srun", .size = 2, .address = "a", .port = 7};
  CHECK(tcp::meeting_place(launch, "runs/a").host == "a");
  CHECK(tcp::meeting_place(launch, "runs/a").ports == std::vector<int>{7});
  CHECK(tcp::meeting_place({.launcher = "srun", .size = 2}, "runs/a").file == fs::path("runs/a/ranks.meet"));
}

TEST_CASE("tcp meeting: no place, or half of one, is refused with both ways") {
  CHECK(refused_place({.launcher = "srun", .size = 4}, "") ==
        "srun: 4 processes that TCP connects need a place to meet: MASTER_ADDR (the host of rank 0) and MASTER_PORT (a "
        "free port there) in the environment, or a run's folder that all of them see (--out, --resume, --checkpoint); "
        "got neither; set both variables on every rank");
  CHECK(refused_place({.launcher = "srun", .size = 4, .address = "a"}, "runs/a") ==
        "srun: the environment variables MASTER_ADDR, the host of rank 0, and MASTER_PORT, a free port there, are "
        "required together; got MASTER_ADDR alone; set both on every rank, or neither");
  CHECK(refused_place({.launcher = "srun", .size = 4, .port = 7}, "").find("got MASTER_PORT alone") !=
        std::string::npos);
}

TEST_CASE("tcp meeting: more processes than TCP connects are refused") {
  const Launch launch{.launcher = "srun", .size = 1025, .address = "127.0.0.1", .port = 7};
  CHECK_THROWS_WITH(
      static_cast<void>(tcp::connect_ranks(launch, {})),
      "srun: TCP connects each pair of at most 1024 processes; got 1025; use a build with MPI, and mpirun "
      "or srun");
}

TEST_CASE("tcp meeting: a name that no host has") {
  const Launch launch{.launcher = "torchrun", .size = 2, .address = "no.such.host.invalid", .port = 7};
  CHECK_THROWS_WITH(
      static_cast<void>(tcp::connect_ranks(launch, {.timeout = std::chrono::seconds(1)})),
      "torchrun: MASTER_ADDR must be the name or address of the host of rank 0; got no.such.host.invalid, "
      "which is not known here; correct it");
}

TEST_CASE("tcp meeting: what rank 0 writes is read; anything else is none of it") {
  const tcp::MeetingNote note{.identity = tcp::random_identity(), .addresses = {"10.0.0.1", "::1"}, .port = 4711};
  const std::string text = tcp::note_text(note);
  const auto read = tcp::parse_note(text);
  REQUIRE(read);
  CHECK(read->identity == note.identity);
  CHECK(read->addresses == note.addresses);
  CHECK(read->port == 4711);
  const std::string end = text.substr(text.find("4711"));
  for (std::size_t cut = 0; cut < text.size() - end.size(); ++cut) CHECK_FALSE(tcp::parse_note(text.substr(0, cut)));
  for (const char* other : {"0", "65536", "-1", "port", ""}) {
    CHECK_FALSE(tcp::parse_note(joined({text.substr(0, text.find("4711")), other, "\n10.0.0.1\n"})));
  }
  CHECK_FALSE(tcp::parse_note("mixgrad ranks.meet 2\n" + text.substr(text.find('\n') + 1)));
  std::string many = text;
  for (int i = 0; i < 1000; ++i) many += "10.0.0.2\n";
  CHECK(tcp::parse_note(many)->addresses.size() == 32);
  CHECK(tcp::random_identity() != tcp::random_identity());
}

TEST_CASE("tcp meeting: the file and the folders made for it are gone afterwards, others stay") {
  const TempFolder folder;
  const fs::path file = folder.path() / "runs" / "a" / "ranks.meet";
  const tcp::MeetingNote note{.identity = tcp::random_identity(), .addresses = {"127.0.0.1"}, .port = 1};
  {
    tcp::MeetingFile meeting(file);
    CHECK_FALSE(tcp::read_note(file));
    meeting.write(note);
    CHECK(tcp::read_note(file)->identity == note.identity);
  }
  CHECK_FALSE(fs::exists(folder.path() / "runs"));
  {
    tcp::MeetingFile meeting(file);
    meeting.write(note);
    fs::create_directory(folder.path() / "runs" / "b");
  }
  CHECK(fs::exists(folder.path() / "runs" / "b"));
  CHECK_FALSE(fs::exists(folder.path() / "runs" / "a"));
}

}  // namespace
}  // namespace mixgrad::test
