// Which generation a path means, whatever its spelling and whatever became of `latest`; saving where links cannot be
// had.
#include "nn/files/generations.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"
#include "nn/files/folder.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

// A run with these generations, of which the last is `latest`.
void make_run(const fs::path& run, const std::vector<std::int64_t>& steps) {
  for (const std::int64_t step : steps) {
    install_generation(
        run, step, [&](const fs::path& scratch) { std::ofstream(scratch / "config.json") << generation_name(step); });
  }
}

// Paths are tried as a shell would type them, from inside `folder`.
struct InFolder {
  explicit InFolder(const fs::path& folder) : before(fs::current_path()) { fs::current_path(folder); }
  ~InFolder() { fs::current_path(before); }
  InFolder(const InFolder&) = delete;
  InFolder& operator=(const InFolder&) = delete;
  fs::path before;
};

}  // namespace

TEST_CASE("generations: every spelling of a path means the same generation, and the run it lies in") {
  const TempFolder folder;
  const fs::path root = fs::canonical(folder.path());
  const fs::path run = root / "run";
  make_run(run, {10, 20});
  fs::create_directory_symlink("run", root / "link");
  fs::create_directory_symlink("run/step-20", root / "direct");
  const fs::path want = run / "step-20";
  const auto means = [&](const fs::path& from, const std::vector<std::string>& spellings) {
    const InFolder inside(from);
    for (const std::string& spelling : spellings) {
      CAPTURE(spelling);
      CHECK(find_generation(spelling) == want);
      CHECK(run_of(find_generation(spelling)) == run);
    }
  };
  means(root, {"run", "run/", "./run", "run/.", "run//", "link", "link/", "run/latest", "run/latest/", "run/step-20",
               "run/step-20/", "run/step-20//", "run/../run/step-20/.", "link/step-20/", "direct", "direct/"});
  means(run, {".", "./", "latest", "latest/", "step-20", "step-20/", "./step-20", "../run", "step-10/../step-20"});
  means(want, {".", "./", "..", "../", "../latest", "../step-20/"});
  CHECK(find_generation(run / "step-10/") == run / "step-10");
}

TEST_CASE("generations: a checkpoint outside a run lies in no run's folder") {
  const TempFolder folder;
  make_run(folder / "run", {10});
  fs::copy(folder / "run/step-10", folder / "exported");
  CHECK(find_generation(folder / "exported") == fs::canonical(folder / "exported"));
  CHECK_FALSE(run_of(folder / "exported"));
}

TEST_CASE("generations: `latest` may be a folder, a text, a dangling link or absent, and the next save mends it") {
  const auto newest = [](const fs::path& run) { return TempFolder::get(find_generation(run) / "config.json"); };
  const auto after = [&](const auto& change) {
    const TempFolder folder;
    const fs::path run = folder / "run";
    make_run(run, {10, 20});
    change(run);
    const std::string read = newest(run);
    CHECK(holds_run(run));
    make_run(run, {30});
    CHECK(newest(run) == "step-30");
    CHECK(fs::is_symlink(fs::symlink_status(run / "latest")));
    CHECK(fs::read_symlink(run / "latest") == "step-30");
    CHECK_FALSE(fs::exists(fs::symlink_status(run / ".latest.tmp")));
    return read;
  };
  const auto copied = [](const fs::path& run, const std::string& generation) {
    fs::remove(run / "latest");
    fs::copy(run / generation, run / "latest", fs::copy_options::recursive);
  };
  CHECK(after([&](const fs::path& run) { copied(run, "step-20"); }) == "step-20");
  CHECK(after([&](const fs::path& run) { copied(run, "step-10"); }) == "step-10");
  CHECK(after([&](const fs::path& run) {  // the copy alone
          copied(run, "step-20");
          fs::remove_all(run / "step-10");
          fs::remove_all(run / "step-20");
        }) == "step-20");
  const auto text = [](const fs::path& run, const std::string& content) {
    fs::remove(run / "latest");
    std::ofstream(run / "latest") << content;
  };
  CHECK(after([&](const fs::path& run) { text(run, "step-10"); }) == "step-10");
  CHECK(after([&](const fs::path& run) { text(run, "step-10\r\n"); }) == "step-10");
  CHECK(after([&](const fs::path& run) { text(run, ""); }) == "step-20");
  CHECK(after([&](const fs::path& run) { text(run, "step-15"); }) == "step-20");
  CHECK(after([&](const fs::path& run) { text(run, "../../etc"); }) == "step-20");
  CHECK(after([&](const fs::path& run) { text(run, std::string(1000, 'x')); }) == "step-20");
  CHECK(after([&](const fs::path& run) {
          fs::remove(run / "latest");
          fs::create_symlink("step-99", run / "latest");
        }) == "step-20");
  CHECK(after([&](const fs::path& run) { fs::remove(run / "latest"); }) == "step-20");
}

TEST_CASE("generations: an absolute link that a copy kept does not mean the run that was copied") {
  const TempFolder folder;
  const fs::path run = folder / "run";
  const fs::path copy = folder / "copy";
  make_run(run, {10, 20});
  make_run(copy, {10, 20});
  fs::remove(copy / "latest");
  fs::create_directory_symlink(fs::absolute(run / "step-20"), copy / "latest");
  fs::create_directory_symlink(fs::absolute(run / "step-10"), copy / "best");
  for (const char* spelling : {"", "latest", "latest/", "./latest/."}) {
    CAPTURE(spelling);
    CHECK(find_generation(copy / spelling) == fs::canonical(copy / "step-20"));
    CHECK(run_of(find_generation(copy / spelling)) == fs::canonical(copy));
  }
  for (const char* spelling : {"best", "best/"})
    CHECK(find_generation(copy / spelling) == fs::canonical(copy / "step-10"));
  make_run(copy, {30});  // other generations, and not the best
  fs::remove(copy / "latest");
  fs::create_directory_symlink(fs::absolute(run / "step-20"), copy / "latest");
  fs::remove_all(copy / "step-10");
  const std::string missing = error_of<IoError>([&] { find_generation(copy / "best"); });
  CHECK_MESSAGE(has(missing, "there is no step-10 here; give one that is: step-20, step-30"), missing);
  CHECK_FALSE(generation_named_by_link(copy / "best"));
  fs::remove_all(copy / "step-30");
  make_run(copy, {10, 20});
  fs::remove(copy / "latest");
  fs::create_directory_symlink(fs::absolute(run / "step-20"), copy / "latest");
  fs::remove_all(copy / "step-20");  // the newest of the copy is an older one
  CHECK(find_generation(copy) == fs::canonical(copy / "step-10"));
  fs::remove_all(copy / "step-10");  // nothing but the links: they are all that can be meant
  CHECK(find_generation(copy) == fs::canonical(run / "step-20"));
  CHECK(find_generation(copy / "best") == fs::canonical(run / "step-10"));
}

TEST_CASE("generations: what `latest` and `best` name is found for readers of other files too") {
  const TempFolder folder;
  const fs::path run = folder / "run";
  make_run(run, {10, 20});
  point_best(run, 10);
  for (const std::string form : {"link", "text", "dangling", "absent"}) {
    CAPTURE(form);
    fs::remove(run / "latest");
    if (form == "link") fs::create_directory_symlink("step-20", run / "latest");
    if (form == "text") std::ofstream(run / "latest") << "step-20\n";
    if (form == "dangling") fs::create_directory_symlink("step-99", run / "latest");
    CHECK(generation_named_by_link(run / "latest") == fs::canonical(run / "step-20"));
    CHECK(generation_named_by_link(run / "latest/") == fs::canonical(run / "step-20"));
  }
  CHECK(generation_named_by_link(run / "best") == fs::canonical(run / "step-10"));
  for (const char* other : {"", "step-10", "notes.txt", "latest/config.json"}) {
    CHECK_FALSE(generation_named_by_link(run / other));
  }
  CHECK_FALSE(generation_named_by_link(folder / "none/latest"));
}

TEST_CASE("generations: a path that holds none is an error that says what is required") {
  const TempFolder folder;
  CHECK(has(error_of<IoError>([&] { find_generation(folder.path()); }), "a checkpoint is required"));
  CHECK(has(error_of<IoError>([&] { find_generation(folder / "absent/"); }), "a checkpoint is required"));
}

TEST_CASE("generations: `best` and `latest` are read as link, folder and text, and run_of knows them") {
  const TempFolder folder;
  const fs::path run = folder / "run";
  for (const std::string name : {"best", "latest"}) {
    fs::remove_all(run);
    make_run(run, {10, 20, 30});
    point_best(run, 20);
    const std::string want = name == "best" ? "step-20" : "step-30";
    const auto read = [&](const std::string& spelling) {
      return TempFolder::get(find_generation(run / spelling) / "config.json");
    };
    for (const std::string& spelling : {name, name + "/", "../run/" + name}) CHECK(read(spelling) == want);
    CHECK(run_of(run / name) == fs::canonical(run));
    fs::remove(run / name);
    std::ofstream(run / name) << want << "\r\n";
    CHECK(read(name) == want);
    fs::remove(run / name);
    fs::copy(run / want, run / name, fs::copy_options::recursive);
    CHECK(read(name) == want);
    CHECK(run_of(run / name) == fs::canonical(run));
    point_best(run, 10);  // a folder gives way to the link
    CHECK(TempFolder::get(find_generation(run / "best") / "config.json") == "step-10");
  }
}

TEST_CASE("generations: `best` goes when its generation is not there, and its absence is said") {
  const TempFolder folder;
  const fs::path run = folder / "run";
  make_run(run, {10, 20});
  point_best(run, 20);
  point_best(run, 20);
  CHECK(fs::read_symlink(run / "best") == "step-20");
  CHECK_FALSE(fs::exists(fs::symlink_status(run / ".best.tmp")));
  for (const std::optional<std::int64_t> step : {std::optional<std::int64_t>(), std::optional<std::int64_t>(99)}) {
    point_best(run, 20);
    point_best(run, step);
    CHECK_FALSE(fs::exists(fs::symlink_status(run / "best")));
  }
  for (const char* spelling : {"best", "best/"}) {
    CHECK(has(error_of<IoError>([&] { find_generation(run / spelling); }),
              "the run has no best generation here: no evaluation counted yet; give one that is: step-10, step-20"));
  }
  fs::create_symlink("step-99", run / "best");
  CHECK(has(error_of<IoError>([&] { find_generation(run / "best"); }), "the run has no best generation here: "));
}

TEST_CASE("generations: `best` without a link is the one that trainer.json names") {
  const TempFolder folder;
  const fs::path run = folder / "run";
  make_run(run, {10, 20, 30});
  const auto best_is = [&](const std::string& value) {
    folder.put("run/step-30/trainer.json", "{\"best\": " + value + "}");
  };
  best_is("{\"step\": 20, \"val_loss\": 1.5}");
  for (const std::string spelling : {"best", "best/", "./best", "best//", "../run/best/.", "step-10/../best"}) {
    CAPTURE(spelling);
    CHECK(find_generation(run / spelling) == fs::canonical(run / "step-20"));
  }
  CHECK(has(error_of<IoError>([&] { find_generation(run / "worst"); }), "a checkpoint is required"));
  best_is("{\"step\": 15, \"val_loss\": 1.5}");
  CHECK(
      has(error_of<IoError>([&] { find_generation(run / "best"); }),
          "the run has no best generation here: step-15 had the lowest validation loss and is not in this folder; give "
          "one that is: step-10, step-20, step-30"));
  best_is("null");
  CHECK(has(error_of<IoError>([&] { find_generation(run / "best"); }), "no evaluation counted yet"));
}

TEST_CASE("generations: `latest` that a crash left on the course before is not taken for the newest") {
  for (const std::string form : {"link", "text", "folder"}) {
    CAPTURE(form);
    const TempFolder folder;
    const fs::path run = folder / "run";
    make_run(run, {10, 30});
    // The first generation of another course stands, and the process died before it swapped `latest`.
    folder.put("run/step-10/trainer.json", "{\"lineage\": {\"course\": 0, \"parent\": null}}");
    make_run(run, {12});
    folder.put("run/step-12/trainer.json", "{\"lineage\": {\"course\": 1, \"parent\": 10}}");
    fs::remove(run / "latest");
    if (form == "link") fs::create_directory_symlink("step-30", run / "latest");
    if (form == "text") std::ofstream(run / "latest") << "step-30\n";
    if (form == "folder") fs::copy(run / "step-30", run / "latest", fs::copy_options::recursive);
    for (const char* spelling : {"", "latest", "latest/", "./latest/.", "step-10/../latest"}) {
      CAPTURE(spelling);
      CHECK(find_generation(run / spelling) == fs::canonical(run / "step-12"));
    }
    CHECK(find_generation(run / "step-30") == fs::canonical(run / "step-30"));
    // What stands before `..` is followed where it is a link, as the system does.
    make_run(folder / "other", {7});
    fs::create_directory_symlink(run / "step-10", folder / "other/into");
    CHECK(find_generation(folder / "other/into/../latest") == fs::canonical(run / "step-12"));
    CHECK(find_generation(folder / "other/step-7/../latest") == fs::canonical(folder / "other/step-7"));
    // Within a course `latest` is what it says.
    folder.put("run/step-12/trainer.json", "{\"lineage\": {\"course\": 0, \"parent\": 10}}");
    CHECK(TempFolder::get(find_generation(run) / "config.json") == "step-30");
  }
}

TEST_CASE("generations: what a crash left is swept, and nothing else") {
  const TempFolder folder;
  const std::vector<std::string> kept{"metrics.jsonl", "metrics.jsonl.bak", "notes.tmp-7", ".metrics", "step-5"};
  for (const std::string& name : kept) folder.put(name, "x");
  for (const char* name :
       {".metrics.jsonl.tmp-7", ".metrics.jsonl.bak.tmp-7", ".latest.tmp", ".best.tmp", ".step-3.tmp"}) {
    folder.put(name, "x");
  }
  sweep_leftovers(folder.path());
  std::size_t left = 0;
  for (const auto& item : fs::directory_iterator(folder.path())) {
    ++left;
    INFO(item.path());
    CHECK(std::find(kept.begin(), kept.end(), item.path().filename().string()) != kept.end());
  }
  CHECK(left == kept.size());
}

TEST_CASE("generations: the newest is that of the highest course, then of the highest step") {
  const TempFolder folder;
  const fs::path run = folder / "run";
  CHECK_FALSE(newest_generation(run));
  const auto make = [&](std::int64_t step, const std::string& trainer) {
    install_generation(run, step, [&](const fs::path& scratch) {
      std::ofstream(scratch / "config.json") << generation_name(step);
      if (!trainer.empty()) std::ofstream(scratch / "trainer.json") << trainer;
    });
  };
  const auto newest = [&] {
    fs::remove(run / "latest");
    CHECK(find_generation(run) == fs::canonical(run / generation_name(newest_generation(run).value().step)));
    return newest_generation(run).value();
  };
  make(30, "");  // as of version 0.1, damaged, or without a number: course 0
  CHECK(newest() == GenerationId{0, 30});
  make(10, "{\"lineage\": {\"course\": \"two\"}}");
  make(20, "{\"lineage\": {\"cour");
  CHECK(newest() == GenerationId{0, 30});
  make(15, "{\"lineage\": {\"course\": 1, \"parent\": 10}}");
  CHECK(newest() == GenerationId{1, 15});
  make(25, "{\"lineage\": {\"course\": 1, \"parent\": 15}}");
  CHECK(newest() == GenerationId{1, 25});
  make(12, "{\"lineage\": {\"course\": 2, \"parent\": 10}}");
  CHECK(newest() == GenerationId{2, 12});
}

}  // namespace mixgrad::test
