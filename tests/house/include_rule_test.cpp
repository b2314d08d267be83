// The include rule: a file includes only its own room and rooms above it in cmake/rooms.txt.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace {
namespace fs = std::filesystem;
using mixgrad::test::joined;

// One room, from the bottom up. `endings` are file names ("*_cases.cpp") that belong here wherever they lie.
struct Room {
  std::string path;
  std::vector<std::string> endings;
};

std::vector<Room> read_rooms(const fs::path& file) {
  std::vector<Room> rooms;
  std::ifstream in(file);
  REQUIRE_MESSAGE(in.good(), "cannot read " << file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    Room room;
    if (!(words >> room.path) || room.path[0] == '#') continue;
    for (std::string word; words >> word;) {
      REQUIRE_MESSAGE(word[0] == '*', file << ": expected `ROOM *ENDING...`, got: " << line);
      room.endings.push_back(word.substr(1));
    }
    rooms.push_back(room);
  }
  return rooms;
}

// The index of the room of `path` (relative to the root, with '/'); nothing for a path outside every room.
std::optional<std::size_t> room_of(const std::vector<Room>& rooms, const std::string& path) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < rooms.size(); ++i) {
    for (const std::string& ending : rooms[i].endings) {
      if (path.ends_with(ending)) return i;
    }
    const bool inside = path.starts_with(rooms[i].path + "/");
    if (inside && (!best || rooms[i].path.size() > rooms[*best].path.size())) best = i;
  }
  return best;
}

// The file named by a line `#include "..."`, or nothing.
std::optional<std::string> included_by(const std::string& line) {
  const std::size_t begin = line.find_first_not_of(" \t");
  if (begin == std::string::npos || line[begin] != '#') return std::nullopt;
  const std::size_t word = line.find("include", begin);
  const std::size_t open = line.find('"', begin);
  if (word == std::string::npos || open == std::string::npos || open < word) return std::nullopt;
  const std::size_t close = line.find('"', open + 1);
  if (close == std::string::npos) return std::nullopt;
  return line.substr(open + 1, close - open - 1);
}

bool is_source(const fs::path& path) {
  const std::string ending = path.extension().string();
  return ending == ".h" || ending == ".cpp" || ending == ".cu" || ending == ".cuh" || ending == ".def";
}

// Every line below `root` that breaks the rule, as "FILE:LINE: TEXT: why". `files` counts what was read.
std::vector<std::string> violations(const fs::path& root, const std::vector<Room>& rooms, int& files) {
  std::vector<std::string> found;
  std::vector<fs::path> tops;
  for (const Room& room : rooms) {
    const fs::path top = root / room.path.substr(0, room.path.find('/'));
    if (fs::is_directory(top) && std::find(tops.begin(), tops.end(), top) == tops.end()) tops.push_back(top);
  }
  for (const fs::path& top : tops) {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(top)) {
      if (!entry.is_regular_file() || !is_source(entry.path())) continue;
      ++files;
      const std::string name = entry.path().lexically_relative(root).generic_string();
      const std::optional<std::size_t> own = room_of(rooms, name);
      if (!own) {
        found.push_back(name + ": lies in no room of cmake/rooms.txt");
        continue;
      }
      std::ifstream in(entry.path());
      int number = 0;
      for (std::string line; std::getline(in, line);) {
        ++number;
        const std::string shown = joined({name, ":", std::to_string(number), ": ", line});
        if (line.starts_with("#include <CLI/") && !name.starts_with("apps/options/")) {
          found.push_back(shown + ": CLI11 may be included in apps/options only");
        }
        const std::optional<std::string> target = included_by(line);
        if (!target) continue;
        if (!fs::exists(root / *target)) {
          if (*target == "build_info.h" || *target == "mixgrad/config.h") continue;  // made by cmake
          found.push_back(shown + ": no such file; write the path from the root of the repository");
          continue;
        }
        const std::optional<std::size_t> other = room_of(rooms, *target);
        if (!other) {
          found.push_back(shown + ": " + *target + " lies in no room of cmake/rooms.txt");
        } else if (*other > *own) {
          found.push_back(shown + ": " + rooms[*own].path + " stands below " + rooms[*other].path);
        }
      }
    }
  }
  return found;
}

void write(const fs::path& file, std::string_view text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << text;
}
}  // namespace

TEST_CASE("include rule: no file includes a room above its own") {
  const fs::path root = MIXGRAD_SOURCE_DIR;
  int files = 0;
  for (const std::string& line : violations(root, read_rooms(root / "cmake/rooms.txt"), files)) FAIL_CHECK(line);
  CHECK(files > 400);
}

TEST_CASE("include rule: planted violations are found, each with its line") {
  const mixgrad::test::TempFolder folder;
  const fs::path& root = folder.path();
  write(root / "cmake/rooms.txt", "# a comment\ncore\nops\nops/cases *_cases.cpp\nnn/config\nnn/mixers\napps\n");
  write(root / "core/tensor.h", "#pragma once\n#include <vector>\n");
  write(root / "ops/cases/cases.h", "#include \"core/tensor.h\"\n");
  write(root / "ops/gelu/gelu.h", "#include \"core/tensor.h\"\n");
  write(root / "ops/gelu/gelu_cases.cpp",
        "#include \"ops/cases/cases.h\"\n");  // allowed: the cases are a room of their own
  write(root / "nn/mixers/attention.h", "#include \"nn/config/config.h\"\n#include \"ops/gelu/gelu.h\"\n");
  write(root / "nn/config/config.h", "");
  write(root / "apps/main.cpp", "#include \"nn/config/config.h\"\n");
  const std::vector<Room> rooms = read_rooms(root / "cmake/rooms.txt");
  int files = 0;
  CHECK(violations(root, rooms, files).empty());
  CHECK(files == 7);

  const auto only_violation = [&](const fs::path& file, std::string_view text, const std::string& expected) {
    std::ifstream in(root / file);
    const std::string before{std::istreambuf_iterator<char>(in), {}};
    write(root / file, text);
    const std::vector<std::string> found = violations(root, rooms, files);
    REQUIRE(found.size() == 1);
    CHECK(found[0] == expected);
    write(root / file, before);
  };
  only_violation("core/tensor.h", "#pragma once\n\n  # include \"ops/gelu/gelu.h\"\n",
                 "core/tensor.h:3:   # include \"ops/gelu/gelu.h\": core stands below ops");
  only_violation("nn/config/config.h", "#include \"nn/mixers/attention.h\"\n",
                 "nn/config/config.h:1: #include \"nn/mixers/attention.h\": nn/config stands below nn/mixers");
  only_violation("ops/gelu/gelu.h", "#include \"ops/cases/cases.h\"\n",
                 "ops/gelu/gelu.h:1: #include \"ops/cases/cases.h\": ops stands below ops/cases");
  only_violation(
      "ops/gelu/gelu.h", "#include \"gelu.h\"\n",
      "ops/gelu/gelu.h:1: #include \"gelu.h\": no such file; write the path from the root of the repository");
  only_violation("nn/config/config.h", "#include <CLI/CLI.hpp>\n",
                 "nn/config/config.h:1: #include <CLI/CLI.hpp>: CLI11 may be included in apps/options only");
  only_violation("apps/main.cpp", "#include <CLI/CLI.hpp>\n",
                 "apps/main.cpp:1: #include <CLI/CLI.hpp>: CLI11 may be included in apps/options only");
}
