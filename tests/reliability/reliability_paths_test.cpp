// Where a run lies and what it reads: file systems without symbolic links, copies that changed the links, a text that
// others cut while it is trained on.
#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>

#include "nn/files/generations.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

}  // namespace

TEST_CASE("reliability: without symbolic links a run is saved, resumed, and read by every spelling") {
  if (kSanitized) return;  // a sanitizer must be the first library that is loaded
  for (const int error : {EPERM, ENOSYS, EOPNOTSUPP, EACCES, EINVAL, ENOTTY}) {
    CAPTURE(error);
    const TempFolder folder;
    const fs::path run = folder / "run";
    ProcessSetting setting;
    setting.environment = {{"LD_PRELOAD", MIXGRAD_FAULT_SHIM},
                           {"MIXGRAD_FAULT_UNDER", folder.path().string()},
                           {"MIXGRAD_FAULT", "symlink:0:" + std::to_string(error)}};
    const std::string options = "--steps 12 --save-every 2 --eval-every 4 ";
    Process first(folder, tiny_run(folder, "run", options + "--stop-after 8"), setting);
    const Finished part = first.wait(20);
    INFO(part.err);
    REQUIRE(part.code == 0);
    CHECK(TempFolder::get(run / "latest") == "step-8\n");
    CHECK(generation_step(TempFolder::get(run / "best").substr(0, 6)).has_value());
    for (const char* spelling : {"run", "run/", "run/latest", "run/best", "run/step-8/"}) {
      CAPTURE(spelling);
      CHECK(mixgrad("eval --threads 1", {"--checkpoint", folder.path() / spelling}).code == 0);
    }
    Process second(folder, resumption(run / "latest", ""), setting);
    const Finished rest = second.wait(20);
    INFO(rest.err);
    CHECK(rest.code == 0);
    CHECK(find_generation(run).filename() == "step-12");
    REQUIRE(run_program(tiny_run(folder, "straight", options)).code == 0);
    CHECK(TempFolder::get(find_generation(run) / "model.safetensors") ==
          TempFolder::get(find_generation(folder / "straight") / "model.safetensors"));
    for (const auto& item : fs::directory_iterator(run)) CHECK(item.path().filename().string()[0] != '.');
  }
}

TEST_CASE("reliability: every verb reads a run whose links a copy has followed, and a save mends it") {
  const TempFolder folder;
  REQUIRE(run_program(tiny_run(folder, "run", "--steps 12 --save-every 4 --eval-every 4 --stop-after 8")).code == 0);
  fs::copy(folder / "run", folder / "copy", fs::copy_options::recursive);  // the folders behind the links
  const std::string copy = (folder / "copy").string();
  REQUIRE_FALSE(fs::is_symlink(folder / "copy/latest"));
  REQUIRE_FALSE(fs::is_symlink(folder / "copy/best"));
  for (const std::string& at : {copy, copy + "/", copy + "/latest", copy + "/best/", copy + "/step-8"}) {
    CAPTURE(at);
    for (const std::string line : {"eval --threads 1 --checkpoint ", "generate --prompt a --tokens 1 --checkpoint ",
                                   "inspect model --checkpoint "}) {
      CHECK(mixgrad(line + at).code == 0);
    }
  }
  const Finished rest = run_program(resumption(copy + "/latest/", ""));
  INFO(rest.err);
  CHECK(rest.code == 0);
  CHECK(fs::read_symlink(folder / "copy/latest") == "step-12");
  CHECK(fs::is_symlink(folder / "copy/best"));
}

TEST_CASE("reliability: a text that is cut while it is trained on ends with one line, never with a signal") {
  for (const std::size_t left : {std::size_t{0}, std::size_t{1}, std::size_t{4097}}) {
    CAPTURE(left);
    const TempFolder folder;
    std::string text;
    for (int i = 0; i < 64; ++i) text += small_text();
    folder.put("text.txt", text);
    Process process(folder, tiny_run(folder, "run", "--steps 1000000 --eval-every 0 --save-every 0"));
    REQUIRE(wait_until([&] { return !TempFolder::get(folder / "run/metrics.jsonl").empty(); }));
    fs::resize_file(folder / "text.txt", left);
    const Finished finished = process.wait(kSanitized ? 60 : 20);
    INFO(finished.err);
    CHECK(finished.code == 4);
    CHECK(has(lines_of(finished.err).back(), "text.txt: the file must stay as it is while it is read; it was " +
                                                 std::to_string(text.size()) + " bytes long and was truncated to " +
                                                 std::to_string(left)));
  }
}

TEST_CASE(
    "reliability: a text that is overwritten while it is trained on ends with one line; a text that grows does not end "
    "it") {
  const TempFolder folder;
  std::string text = small_text() + small_text();
  folder.put("text.txt", text);
  Process process(folder, tiny_run(folder, "run", "--steps 1000000 --eval-every 0 --save-every 0"));
  REQUIRE(wait_until([&] { return !TempFolder::get(folder / "run/metrics.jsonl").empty(); }));
  std::ofstream(folder / "text.txt", std::ios::app) << "the cat sat\n";
  CHECK(goes_on(process, folder / "run"));
  std::reverse(text.begin(), text.end());
  std::fstream(folder / "text.txt", std::ios::in | std::ios::out) << text;
  const Finished finished = process.wait(kSanitized ? 60 : 20);
  INFO(finished.err);
  CHECK(finished.code == 4);
  CHECK(has(lines_of(finished.err).back(),
            "text.txt: the file must stay as it is while it is read; it was overwritten "
            "with another content; restore it, or give a copy"));
}

}  // namespace mixgrad::test
