// What the pages tell of the examples is what the examples are: scripts/examples.sh compiles and runs them.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace {
namespace fs = std::filesystem;

std::string text_of(const fs::path& file) {
  std::ifstream in(file);
  REQUIRE_MESSAGE(in.good(), "cannot read " << file);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Each line without its indentation.
std::string outdented(const std::string& text) {
  std::string result;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    const std::size_t begin = line.find_first_not_of(' ');
    result += (begin == std::string::npos ? "" : line.substr(begin)) + "\n";
  }
  return result;
}

// A code block of a page that begins with "from examples/...": what it quotes, and from which file.
struct Excerpt {
  std::string file;
  std::string code;
};

std::vector<Excerpt> excerpts(const std::string& page) {
  std::vector<Excerpt> found;
  std::istringstream in(page);
  bool inside = false;
  std::string block;
  for (std::string line; std::getline(in, line);) {
    if (line.find_first_not_of(' ') != std::string::npos &&
        line.substr(line.find_first_not_of(' ')).starts_with("```")) {
      const std::size_t at = block.find("from examples/");
      if (inside && at != std::string::npos && at < block.find('\n')) {
        const std::string first = block.substr(at + 5, block.find('\n') - at - 5);
        found.push_back({first.substr(0, first.find_first_of(" :")), block.substr(block.find('\n') + 1)});
      }
      block.clear();
      inside = !inside;
    } else if (inside) {
      block += line + "\n";
    }
  }
  return found;
}
}  // namespace

TEST_CASE("examples: what a README quotes of an example stands there word for word") {
  const fs::path root = MIXGRAD_SOURCE_DIR;
  int quoted = 0;
  for (const char* page : {"ops/README.md", "nn/README.md", "docs/library.md"}) {
    for (const Excerpt& excerpt : excerpts(text_of(root / page))) {
      ++quoted;
      const std::string source = "\n" + outdented(text_of(root / excerpt.file));
      CHECK_MESSAGE(source.find("\n" + outdented(excerpt.code)) != std::string::npos,
                    page << " quotes of " << excerpt.file << " what does not stand there:\n"
                         << excerpt.code);
    }
  }
  CHECK(quoted >= 3);
}

TEST_CASE("examples: a quotation is found, and compared") {
  const std::string page =
      "text\n   ```cpp\n   // from examples/a/b.cpp\n   int x;\n     int y;\n   ```\n```\nno\n```\n";
  const std::vector<Excerpt> found = excerpts(page);
  REQUIRE(found.size() == 1);
  CHECK(found[0].file == "examples/a/b.cpp");
  CHECK(outdented(found[0].code) == "int x;\nint y;\n");
}

TEST_CASE("examples: each is a project of its own, listed where a reader looks for it") {
  const fs::path root = MIXGRAD_SOURCE_DIR;
  const std::string readme = text_of(root / "examples/README.md");
  const std::string library = text_of(root / "docs/library.md");
  int count = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(root / "examples")) {
    if (!entry.is_directory()) continue;
    ++count;
    const std::string name = entry.path().filename().string();
    CHECK_MESSAGE(fs::exists(entry.path() / "CMakeLists.txt"), name);
    CHECK_MESSAGE(readme.find("| `" + name + "/` |") != std::string::npos, "examples/README.md does not list " << name);
    CHECK_MESSAGE(library.find("| `" + name + "` |") != std::string::npos, "docs/library.md does not list " << name);
  }
  CHECK(count >= 3);
}
