// nn/files/file.h: mapping, reading, atomic writing.
#include "nn/files/file.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <stdexcept>
#include <thread>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/files/mapping_guard.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;
using test::TempFolder;

TEST_CASE("mapped file: content, empty file, move") {
  const TempFolder folder;
  MappedFile file = MappedFile::open(folder.put("a", "hello"));
  CHECK(std::string(file.text()) == "hello");
  CHECK(file.bytes().size() == 5);
  MappedFile moved = std::move(file);
  CHECK(std::string(moved.text()) == "hello");
  CHECK(moved.path() == (folder / "a").string());
  moved = MappedFile::open(folder.put("empty", ""));
  CHECK(moved.size() == 0);
  CHECK(moved.text().empty());
  CHECK(MappedFile().size() == 0);
}

TEST_CASE("mapped file: missing, directory, pipe") {
  const TempFolder folder;
  const std::string missing = error_of<IoError>([&] { MappedFile::open(folder / "none"); });
  CHECK(has(missing, (folder / "none").string()));
  CHECK(has(missing, "No such file or directory"));
  CHECK(has(error_of<IoError>([&] { MappedFile::open(folder.path()); }), "this is a directory"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(has(error_of<IoError>([&] { MappedFile::open(folder / "pipe"); }), "not a regular file"));
}

// Plays someone who truncates a file while it is read: the guard is installed in a child process, which must end by
// itself.
int exit_code_of_child(const std::function<int()>& run) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(run());
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST_CASE("mapped file: truncated while it is mapped, what is gone reads as zeros and require_whole says so") {
  const TempFolder folder;
  const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  for (const std::size_t left : {std::size_t{0}, std::size_t{1}, page, page + 100, 3 * page - 1}) {
    CAPTURE(left);
    const std::filesystem::path path = folder.put("text", std::string(4 * page, 'x'));
    CHECK(exit_code_of_child([&] {
            guard_mapped_files();
            const MappedFile first = MappedFile::open(path);
            const MappedFile second = MappedFile::open(path);  // each mapping is guarded
            first.require_whole();
            std::filesystem::resize_file(path, left);
            std::size_t kept = 0;
            for (const char c : second.text()) kept += c == 'x' ? 1 : 0;
            for (const char c : first.text()) kept += c == 'x' ? 1 : 0;
            if (kept != 2 * left) return 1;
            const std::string text = error_of<IoError>([&] { first.require_whole(); });
            return has(text, "was truncated to " + std::to_string(left) + ";") && has(text, "text: the file must stay")
                       ? 0
                       : 2;
          }) == 0);
  }
}

TEST_CASE("mapped file: the guard leaves other bus errors alone, and a file that grew or was replaced is whole") {
  const TempFolder folder;
  const std::filesystem::path path = folder.put("text", std::string(5000, 'x'));
  CHECK(exit_code_of_child([&] {
          guard_mapped_files();
          ::raise(SIGBUS);
          return 0;
        }) != 0);
  const MappedFile file = MappedFile::open(path);
  std::filesystem::resize_file(path, 9000);
  CHECK_NOTHROW(file.require_whole());
  write_file_atomic(path, "short");
  CHECK_NOTHROW(file.require_whole());
  CHECK(file.text() == std::string(5000, 'x'));
}

TEST_CASE("read_text: a pipe is refused, or read to its writer's end; one byte order mark is skipped") {
  const TempFolder folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(has(error_of<IoError>([&] { read_text(folder / "pipe"); }), "not a regular file"));
  std::thread writer([&] {  // late, and in two parts
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    std::ofstream out(folder / "pipe");
    out << "\xef\xbb\xbfone " << std::flush;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    out << "two";
  });
  CHECK(read_text(folder / "pipe", 100, Pipes::wait) == "one two");
  writer.join();
  CHECK(read_text(folder.put("mark", "\xef\xbb\xbf")).empty());
  CHECK(read_text(folder.put("two marks", "\xef\xbb\xbf\xef\xbb\xbfx")) == "\xef\xbb\xbfx");
  CHECK(read_text(folder.put("later", "x\xef\xbb\xbf")) == "x\xef\xbb\xbf");
}

TEST_CASE("read_text: content, limit, errors") {
  const TempFolder folder;
  const auto path = folder.put("a", std::string("x\0y", 3));
  CHECK(read_text(path) == std::string("x\0y", 3));
  CHECK(read_text(path, 3).size() == 3);
  CHECK(has(error_of<FormatError>([&] { read_text(path, 2); }), "at most 2 bytes"));
  CHECK(read_text(folder.put("empty", "")).empty());
  CHECK(has(error_of<IoError>([&] { read_text(folder / "none"); }), "No such file"));
  CHECK(has(error_of<IoError>([&] { read_text(folder.path()); }), "this is a directory"));
}

TEST_CASE("atomic write: new file, replacement, large pieces, no scratch file left") {
  const TempFolder folder;
  write_file_atomic(folder / "a", "one");
  CHECK(TempFolder::get(folder / "a") == "one");
  write_file_atomic(folder / "a", "");
  CHECK(TempFolder::get(folder / "a").empty());
  std::string expected;
  write_file_atomic(folder / "a", [&](FileWriter& writer) {
    for (const std::size_t size : {1U, 70'000U, 300'000U, 7U, 262'144U, 200'000U, 100'000U}) {
      const std::string piece(size, static_cast<char>('a' + expected.size() % 7));
      writer.write(piece);
      expected += piece;
    }
  });
  CHECK(TempFolder::get(folder / "a") == expected);
  CHECK(folder.file_count() == 1);
}

TEST_CASE("atomic write: a stale scratch file of the same process id is left alone and does not block") {
  const TempFolder folder;
  const std::string stale = ".a.tmp-" + std::to_string(::getpid());
  folder.put(stale, "stale");
  write_file_atomic(folder / "a", "new");
  CHECK(TempFolder::get(folder / "a") == "new");
  CHECK(TempFolder::get(folder / stale) == "stale");
}

TEST_CASE("atomic write: a failure leaves the old file and no scratch file") {
  const TempFolder folder;
  folder.put("a", "old");
  const auto fail = [](FileWriter& writer) {
    writer.write(std::string(400'000, 'x'));
    throw std::runtime_error("stop");
  };
  CHECK_THROWS_AS(write_file_atomic(folder / "a", fail), std::runtime_error);
  CHECK(TempFolder::get(folder / "a") == "old");
  CHECK(folder.file_count() == 1);

  // The system refuses to write further, as on a full disk.
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  const rlimit small{1000, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string text = error_of<IoError>([&] { write_file_atomic(folder / "a", std::string(5000, 'x')); });
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  std::signal(SIGXFSZ, handler);
  CHECK(has(text, (folder / "a").string()));
  CHECK(has(text, "File too large"));
  CHECK(TempFolder::get(folder / "a") == "old");
  CHECK(folder.file_count() == 1);
}

TEST_CASE("atomic write: paths that cannot be written") {
  const TempFolder folder;
  CHECK(has(error_of<IoError>([&] { write_file_atomic(folder / "none/a", "x"); }), "No such file or directory"));
  CHECK(has(error_of<ValueError>([&] { write_file_atomic(folder / "", "x"); }), "add a file name"));
  CHECK(has(error_of<ValueError>([&] { write_file_atomic("..", "x"); }), "add a file name"));
  make_folder(folder / "folder/in");
  CHECK(has(error_of<IoError>([&] { write_file_atomic(folder / "folder", "x"); }), "renaming the finished file"));
  CHECK(folder.file_count() == 1);
}

TEST_CASE("make_folder") {
  const TempFolder folder;
  make_folder(folder / "a/b/c");
  make_folder(folder / "a/b/c");
  CHECK(std::filesystem::is_directory(folder / "a/b/c"));
  sync_folder(folder / "a");
  folder.put("file", "x");
  CHECK(has(error_of<IoError>([&] { make_folder(folder / "file"); }), "a folder is required"));
  CHECK(has(error_of<IoError>([&] { make_folder(folder / "file/under"); }), (folder / "file/under").string()));
  CHECK(has(error_of<IoError>([&] { sync_folder(folder / "none"); }), "No such file"));
}

TEST_CASE("suggest: nearest, did_you_mean, quote") {
  const std::vector<std::string> names{"heads", "kv_heads", "d_model", "min-lr"};
  CHECK(nearest("haeds", names) == "heads");
  CHECK(nearest("head", names) == "heads");
  CHECK(nearest("kvheads", names) == "kv_heads");
  CHECK(nearest("D-MODEL", names) == "d_model");
  CHECK(nearest("min_lr", names) == "min-lr");
  CHECK(nearest("banana", names).empty());
  const std::vector<std::string> options{"op",    "out",   "lr",        "mlp",       "beta1",
                                         "beta2", "steps", "precision", "eval-every"};
  for (const std::string far : {"top", "gpu", "cpu", "beta3", "bf32", "stop", "epochs", "ops2", "evaluation"}) {
    CHECK_MESSAGE(nearest(far, options).empty(), far);
  }
  CHECK(nearest("rl", options) == "lr");
  CHECK(nearest("prec", options) == "precision");  // the only one that begins so
  CHECK(nearest("eval", options) == "eval-every");
  CHECK(nearest("eval", {"eval-every", "eval-batch"}).empty());
  CHECK(nearest("axis", {"axes", "axil"}).empty());  // which of them?
  CHECK(nearest("", names).empty());
  CHECK(nearest("x", {"a"}).empty());
  CHECK(nearest(std::string(1'000'000, 'h'), names).empty());
  CHECK(did_you_mean("haeds", names) == "did you mean \"heads\"? ");
  CHECK(did_you_mean("banana", names).empty());
  CHECK(quote("a\"b\n\x01") == "\"a\\\"b\\n\\x01\"");
  CHECK(quote("aé", 2) == "\"a...\"");
  CHECK(quote(std::string(100, 'a')).size() < 70);
  CHECK(join({"a", "b"}) == "a, b");
}

}  // namespace
}  // namespace mixgrad
