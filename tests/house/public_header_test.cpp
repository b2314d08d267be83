// The public header, first so that it must compile alone, and what README and examples say of it.
#include "mixgrad/mixgrad.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/text.h"

namespace {
std::string read_source(const std::string& name) {
  std::ifstream in(std::string(MIXGRAD_SOURCE_DIR) + "/" + name);
  REQUIRE_MESSAGE(in.good(), "cannot read " << name);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The text between ```LANGUAGE and ``` of the first such block that contains `word`; empty when there is none.
std::string code_block(const std::string& page, const std::string& language, const std::string& word) {
  const std::string opening = "```" + language + "\n";
  for (std::size_t at = page.find(opening); at != std::string::npos; at = page.find(opening, at)) {
    at += opening.size();
    const std::string block = page.substr(at, page.find("```", at) - at);
    if (block.find(word) != std::string::npos) return block;
  }
  return {};
}
}  // namespace

TEST_CASE("public header: mixgrad.h includes the header of every operator's folder") {
  const std::string header = read_source("mixgrad/mixgrad.h");
  std::vector<std::string> folders;
#define OP(name, folder) folders.emplace_back(#folder);
#include "ops/op_list.def"
#undef OP
  CHECK(folders.size() > 20);
  for (const std::string& folder : folders) {
    const std::string line = mixgrad::test::joined({"#include \"ops/", folder, "/", folder, ".h\""});
    CHECK_MESSAGE(header.find(line + "\n") != std::string::npos, "mixgrad/mixgrad.h lacks " << line);
  }
}

TEST_CASE("public header: README's program is examples/hello_tape, word for word") {
  const std::string readme = read_source("README.md");
  CHECK(code_block(readme, "cpp", "int main()") == read_source("examples/hello_tape/hello_tape.cpp"));
  const std::string project = code_block(readme, "cmake", "find_package");
  REQUIRE(!project.empty());
  std::istringstream lines(project);
  const std::string example = read_source("examples/hello_tape/CMakeLists.txt");
  for (std::string line; std::getline(lines, line);) {
    CHECK_MESSAGE(example.find(line + "\n") != std::string::npos, "examples/hello_tape/CMakeLists.txt lacks " << line);
  }
}
