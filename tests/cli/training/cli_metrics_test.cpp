// metrics.jsonl of a resumed run, with lines in it that are not the program's.
#include <doctest/doctest.h>

#include "nn/files/metrics_file.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

std::string metrics_line(int step) {
  return "{\"step\":" + std::to_string(step) +
         ",\"loss\":1.5,\"val_loss\":null,\"lr\":0.001,\"grad_norm\":0.5,\"tokens_per_s\":100.0}\n";
}

}  // namespace

TEST_CASE("cli metrics: every line of the program is kept, whatever stands between them, and the rest is said") {
  const TempFolder folder;
  const fs::path file = folder / "metrics.jsonl";
  const std::string all = metrics_line(5) + metrics_line(10) + metrics_line(15);
  for (const std::string foreign :
       {"# lowered the rate here\n", "\n", "   \n", "{\"step\": 12\n", "{\"step\":\"ten\"}\n", "[1,2]\n", "null\n",
        "{\"step\":7}\n", "{\"step\":7,\"note\":\"lr\"}\n", "step 12/40  loss 3.1  val -\n", "12\n", "\xff\xfe\n",
        "{\"step\":-1,\"loss\":1,\"val_loss\":1,\"lr\":1,\"grad_norm\":1,\"tokens_per_s\":1}\n",
        "{\"step\":1,\"step\":1,\"loss\":1,\"val_loss\":1,\"lr\":1,\"grad_norm\":1,\"tokens_per_s\":1}\n"}) {
    CAPTURE(foreign);
    for (const int at : {0, 1, 2, 3}) {
      const std::string text = (at > 0 ? metrics_line(5) : "") + std::string(at > 1 ? metrics_line(10) : "") +
                               (at > 2 ? metrics_line(15) : "") + foreign + (at < 1 ? metrics_line(5) : "") +
                               (at < 2 ? metrics_line(10) : "") + (at < 3 ? metrics_line(15) : "");
      folder.put("metrics.jsonl", text + metrics_line(20));
      const std::string note = continue_metrics(file, file, 19);
      CHECK(TempFolder::get(file) == all);
      CHECK(note ==
            file.string() + ": 1 line (the first is line " + std::to_string(at + 1) +
                ") cannot be read as metrics of a run and is left out; the file as it was is metrics.jsonl.bak");
      CHECK(TempFolder::get(folder / "metrics.jsonl.bak") == text + metrics_line(20));
      fs::remove(folder / "metrics.jsonl.bak");
    }
  }
}

TEST_CASE("cli metrics: what is whole stays as it is, several lines are counted, backups never replace each other") {
  const TempFolder folder;
  const fs::path file = folder / "metrics.jsonl";
  CHECK(continue_metrics(file, file, 10) == "");
  CHECK_FALSE(fs::exists(file));
  const std::string crlf = metrics_line(10).substr(0, metrics_line(10).size() - 1) + "\r\n";
  folder.put("metrics.jsonl", metrics_line(5) + crlf + metrics_line(20));
  CHECK(continue_metrics(file, file, 10) == "");
  CHECK(TempFolder::get(file) == metrics_line(5) + crlf);
  CHECK_FALSE(fs::exists(folder / "metrics.jsonl.bak"));
  folder.put("metrics.jsonl", metrics_line(5) + metrics_line(10).substr(
                                                    0, metrics_line(10).size() - 1));  // the line end alone is missing
  CHECK(continue_metrics(file, file, 10) == "");
  CHECK(TempFolder::get(file) == metrics_line(5) + metrics_line(10));
  for (const char* backup : {"metrics.jsonl.bak", "metrics.jsonl.bak2", "metrics.jsonl.bak3"}) {
    folder.put("metrics.jsonl",
               "# a\n" + metrics_line(5) + "\n# b\n" + metrics_line(10) + metrics_line(15).substr(0, 20));
    const std::string note = continue_metrics(file, file, 10);
    CHECK(has(
        note,
        ": 4 lines (the first is line 1) cannot be read as metrics of a run and are left out; the file as it was is "));
    CHECK(note.ends_with(backup));
    CHECK(TempFolder::get(file) == metrics_line(5) + metrics_line(10));
    CHECK(fs::exists(folder / backup));
  }
  folder.put("metrics.jsonl", "# a\n" + metrics_line(5));  // into another folder: the file itself stays
  const std::string note = continue_metrics(file, folder / "other.jsonl", 10);
  CHECK(note == file.string() + ": 1 line (the first is line 1) cannot be read as metrics of a run and is left out");
  CHECK(TempFolder::get(folder / "other.jsonl") == metrics_line(5));
  CHECK(TempFolder::get(file) == "# a\n" + metrics_line(5));
  folder.put("metrics.jsonl", metrics_line(5) + metrics_line(20));
  CHECK(has(continue_metrics(file, file, 10, LaterLines::back_up),
            "the lines after step 10 are left out; the file as it"));
}

TEST_CASE("cli metrics: a run with a comment in its metrics is resumed with all of its lines") {
  const TempFolder folder;
  const std::string options = "--steps 20 --stop-after 10 --log-every 2 --eval-every 5";
  REQUIRE(run_program(tiny_run(folder, "run", options)).code == 0);
  REQUIRE(run_program(tiny_run(folder, "straight", "--steps 20 --log-every 2 --eval-every 5")).code == 0);
  const std::string before = TempFolder::get(folder / "run/metrics.jsonl");
  const std::size_t second = before.find('\n') + 1;
  folder.put("run/metrics.jsonl", before.substr(0, second) + "# lowered the rate here\n" + before.substr(second));
  const Finished rest = run_program(resumption(folder / "run", ""));
  INFO(rest.err);
  CHECK(rest.code == 0);
  CHECK(has(rest.err,
            "mixgrad: " + fs::canonical(folder / "run").string() +
                "/metrics.jsonl: 1 line (the first is line 2) cannot be read as metrics of a run and is left out"));
  CHECK(metrics_of(folder / "run") == metrics_of(folder / "straight"));
}

}  // namespace mixgrad::test
