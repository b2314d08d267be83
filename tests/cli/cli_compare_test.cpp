// Above 400 lines by a few: the verbs that look at runs share the runs that are trained here.
// mixgrad compare, report, plot and explore: the numbers are those of the runs, the page needs nothing else.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <regex>

#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

// Two forms with two seeds each, in one folder.
const TempFolder& compared_folder() {
  static const TempFolder folder;
  static const bool made = [] {
    for (const std::string form : {"attention", "hsm:scalar"}) {
      for (const std::string seed : {"1", "2"}) {
        const Finished done = run_program({"train",
                                           "--mixer",
                                           form,
                                           "--layers",
                                           "1",
                                           "--d-model",
                                           "16",
                                           "--heads",
                                           "2",
                                           "--context",
                                           "16",
                                           "--batch",
                                           "2",
                                           "--steps",
                                           "30",
                                           "--eval-every",
                                           "10",
                                           "--save-every",
                                           "15",
                                           "--log-every",
                                           "1",
                                           "--sample-tokens",
                                           "0",
                                           "--seed",
                                           seed,
                                           "--out",
                                           (folder / (form.substr(0, 3) + seed)).string()});
        REQUIRE_MESSAGE(done.code == 0, done.err);
      }
    }
    return true;
  }();
  static_cast<void>(made);
  return folder;
}

std::vector<std::string> compared_runs() {
  std::vector<std::string> paths;
  for (const char* name : {"att1", "att2", "hsm1", "hsm2"}) paths.push_back((compared_folder() / name).string());
  return paths;
}

Finished of_runs(const std::string& verb, const std::vector<std::string>& more) {
  std::vector<std::string> arguments{verb};
  for (const std::string& path : compared_runs()) arguments.push_back(path);
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments);
}

double best_validation(const std::string& run) {
  double best = 1e9;
  for (const Json& line : json_lines(TempFolder::get(std::filesystem::path(run) / "metrics.jsonl"))) {
    if (!line["val_loss"].is_null()) best = std::min(best, line["val_loss"].get<double>());
  }
  return best;
}

}  // namespace

TEST_CASE("cli compare: groups of seeds, means, intervals and paired differences as computed by hand") {
  const Finished got = of_runs("compare", {"--format", "json"});
  REQUIRE(got.code == 0);
  const std::vector<Json> rows = json_lines(got.out);
  REQUIRE(rows.size() == 2);
  const std::vector<std::string> runs = compared_runs();
  double best[4];
  for (int i = 0; i < 4; ++i) best[i] = best_validation(runs[static_cast<std::size_t>(i)]);
  constexpr double kOneDegree = 12.7062;  // of Student's t, two-sided, 95 %
  for (const Json& row : rows) {
    const bool softmax = row["runs"][0] == "att1";
    const double a = softmax ? best[0] : best[2];
    const double b = softmax ? best[1] : best[3];
    CHECK(row["seeds"] == 2);
    CHECK(row["loss"].get<double>() == doctest::Approx((a + b) / 2).epsilon(1e-12));
    // Of two values the standard error of the mean is half of their distance.
    CHECK(row["loss_half_width"].get<double>() == doctest::Approx(kOneDegree * std::abs(a - b) / 2).epsilon(1e-6));
    CHECK(row["group"] == (softmax ? "mixer=attention" : "mixer=hsm:scalar"));
    if (softmax) {
      CHECK(row["difference"].is_null());
      continue;
    }
    const double first = best[2] - best[0];
    const double second = best[3] - best[1];
    CHECK(row["paired"] == true);
    CHECK(row["difference"].get<double>() == doctest::Approx((first + second) / 2).epsilon(1e-9));
    CHECK(row["difference_half_width"].get<double>() ==
          doctest::Approx(kOneDegree * std::abs(first - second) / 2).epsilon(1e-6));
    const bool apart = std::abs(first + second) / 2 > kOneDegree * std::abs(first - second) / 2;
    CHECK(row["rank"] == (apart && row == rows[1] ? 2 : 1));
  }
}

TEST_CASE("cli compare: one run alone, another baseline, other forms of the table, what is refused") {
  const std::vector<std::string> runs = compared_runs();
  const Finished alone = run_program({"compare", runs[0], "--format", "json"});
  CHECK(alone.code == 0);
  const Json row = Json::parse(alone.out);
  CHECK(row["loss_half_width"].is_null());
  CHECK(row["rank"].is_null());
  const Finished other = of_runs("compare", {"--baseline", "hsm2", "--format", "csv"});
  CHECK(other.code == 0);
  CHECK(other.out.rfind("group,seeds,loss,", 0) == 0);
  CHECK(std::count(other.out.begin(), other.out.end(), '\n') == 3);
  const Finished markdown = of_runs("compare", {"--format", "markdown"});
  CHECK(markdown.out.find("| runs | seeds | val loss |") == 0);
  CHECK(of_runs("compare", {}).out.find("mixer=hsm:scalar") != std::string::npos);
  const Finished unknown = of_runs("compare", {"--baseline", "no-such-run"});
  CHECK(unknown.code == 2);
  CHECK(unknown.err.find("--baseline must be one of the runs (att1, att2, hsm1, hsm2), got no-such-run") !=
        std::string::npos);
  CHECK(run_program({"compare", (compared_folder() / "nothing").string()}).code == 4);
  CHECK(run_program({"compare"}).code == 2);
}

TEST_CASE("cli compare, report, plot: a run that is given twice, however it is spelled, is refused") {
  const std::vector<std::string> runs = compared_runs();
  const TempFolder folder;
  for (const std::string& again : {runs[0], runs[0] + "/", runs[0] + "/latest", runs[0] + "/../att1/."}) {
    for (const std::string verb : {"compare", "report", "plot"}) {
      Arguments words{verb, runs[0], runs[1], again};
      if (verb == "report") words.insert(words.end(), {"--out", (folder / "page.html").string()});
      const Finished twice = run_program(words);
      CAPTURE(verb);
      CAPTURE(again);
      INFO(twice.err);
      CHECK(not_refused(twice, 2) == "");
      CHECK(twice.err.find("a run must be given once") != std::string::npos);
      CHECK_FALSE(std::filesystem::exists(folder / "page.html"));
    }
  }
}

TEST_CASE("cli compare, report, plot: a folder of runs stands for them, and files beside runs are counted") {
  const TempFolder folder;
  for (const char* name : {"att1", "hsm1"}) {
    std::filesystem::copy(compared_folder() / name, folder / name,
                          std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks);
  }
  folder.put("att1.log", "nothing of a run");
  folder.put("sweep.json", "{}");
  std::filesystem::create_directory(folder / "empty");
  const std::string one = (folder / "att1").string();
  const std::string two = (folder / "hsm1").string();
  const std::string whole = folder.path().string();
  const Finished apart = run_program({"compare", one, two, "--format", "json"});
  const Finished together = run_program({"compare", whole, "--format", "json"});
  CHECK(together.code == 0);
  CHECK(together.err == apart.err);
  CHECK(together.out == apart.out);
  const Finished caught =
      run_program({"compare", one, one + ".log", two, (folder / "sweep.json").string(), "--format", "json"});
  CHECK(caught.code == 0);
  CHECK(caught.out == apart.out);
  CHECK(caught.err.find("left out 2 files beside the runs, the first is " + one + ".log") != std::string::npos);
  CHECK(run_program({"plot", whole}).code == 0);
  CHECK(run_program({"report", whole, "--out", (folder / "page.html").string()}).code == 0);
  CHECK(run_program({"compare", one + ".log"}).code == 4);
  CHECK(run_program({"compare", (folder / "empty").string()}).code == 4);
  CHECK(run_program({"compare", whole, one}).code == 2);  // given twice
}

// TensorBoard 2.21 reads them (every value and step equal, 2026-11-29); here the frame of the records and their number.
TEST_CASE("cli compare: event files for TensorBoard hold every value of every run") {
  const TempFolder folder;
  REQUIRE(of_runs("compare", {"--tensorboard", (folder / "events").string()}).code == 0);
  for (const std::string& run : compared_runs()) {
    const std::string name = std::filesystem::path(run).filename().string();
    const std::string bytes = TempFolder::get(folder / "events" / name / "events.out.tfevents.0.mixgrad");
    std::size_t records = 0;
    std::size_t at = 0;
    for (; at + 12 <= bytes.size(); ++records) {
      std::size_t length = 0;
      for (int i = 7; i >= 0; --i)
        length = length << 8U | static_cast<unsigned char>(bytes[at + static_cast<std::size_t>(i)]);
      at += 12 + length + 4;
    }
    CHECK(at == bytes.size());
    std::size_t values = 1;  // the record of the version
    for (const Json& line : json_lines(TempFolder::get(std::filesystem::path(run) / "metrics.jsonl"))) {
      for (const char* key : {"loss", "val_loss", "lr", "grad_norm", "tokens_per_s"})
        values += line[key].is_null() ? 0 : 1;
    }
    CHECK(records == values);
    CHECK(bytes.find("brain.Event:2") != std::string::npos);
    CHECK(bytes.find("validation/loss") != std::string::npos);
  }
}

TEST_CASE("cli report: one file with the numbers of the runs, that asks for nothing") {
  const TempFolder folder;
  const std::filesystem::path page = folder / "report.html";
  const Finished done = of_runs("report", {"--out", page.string(), "--svg", (folder / "svg").string(),
                                           "--sample-tokens", "20", "--title", "A <b>title</b> & more"});
  REQUIRE_MESSAGE(done.code == 0, done.err);
  const std::string html = TempFolder::get(page);
  CHECK(html.size() < 200'000);
  CHECK(html.find("<title>A &lt;b&gt;title&lt;/b&gt; &amp; more</title>") != std::string::npos);
  // No address but the name of SVG's language, no file, no style sheet of another place.
  const std::regex address("(https?:|src=|href=\"[^#]|url\\(|@import)");
  for (std::sregex_iterator it(html.begin(), html.end(), address), none; it != none; ++it) {
    CHECK(html.substr(static_cast<std::size_t>(it->position()), 26) == "http://www.w3.org/2000/svg");
  }
  const std::string opening = "<script type=\"application/json\" id=\"data\">";
  const std::size_t begin = html.find(opening) + opening.size();
  const Json data = Json::parse(html.substr(begin, html.find("</script>", begin) - begin));
  const std::vector<std::string> runs = compared_runs();
  REQUIRE(data["runs"].size() == runs.size());
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const std::vector<Json> lines = json_lines(TempFolder::get(std::filesystem::path(runs[r]) / "metrics.jsonl"));
    const Json& run = data["runs"][r];
    REQUIRE(run["steps"].size() == lines.size());
    for (std::size_t i = 0; i < lines.size(); ++i) {
      CHECK(run["steps"][i] == lines[i]["step"]);
      CHECK(run["loss"][i].get<double>() == doctest::Approx(lines[i]["loss"].get<double>()).epsilon(1e-5));
      CHECK(run["val"][i].is_null() == lines[i]["val_loss"].is_null());
    }
  }
  CHECK(html.find("<h2 id=\"samples\">") != std::string::npos);
  for (const char* name : {"loss", "val", "lr", "grad", "speed"}) {
    const std::string svg = TempFolder::get(folder / "svg" / (std::string(name) + ".svg"));
    CHECK(svg.rfind("<svg xmlns=", 0) == 0);
    CHECK(svg.find("class=\"curve c3\"") != std::string::npos);
  }
  const Finished without = of_runs("report", {});
  CHECK(without.code == 2);
  CHECK(without.err.find("--out FILE is required") != std::string::npos);
}

TEST_CASE("cli report: memory and time are those of the plan; ten runs of a thousand logged steps stay below 1 MB") {
  const TempFolder folder;
  const std::vector<std::string> tiny{"--mixer",   "hsm:scalar", "--layers", "1", "--d-model", "8",
                                      "--context", "8",          "--batch",  "1", "--heads",   "1"};
  const auto with = [&](std::vector<std::string> words, const std::vector<std::string>& more) {
    words.insert(words.end(), tiny.begin(), tiny.end());
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words);
  };
  const std::filesystem::path first = folder / "run0";
  REQUIRE(with({"train"}, {"--steps", "1000", "--log-every", "1", "--eval-every", "500", "--sample-tokens", "0",
                           "--out", first.string()})
              .code == 0);
  std::vector<std::string> words{"report", first.string()};
  for (int i = 1; i < 10; ++i) {
    const std::filesystem::path copy = folder / ("run" + std::to_string(i));
    std::filesystem::copy(first, copy,
                          std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks);
    words.push_back(copy.string());
  }
  const std::filesystem::path page = folder / "report.html";
  words.insert(words.end(), {"--out", page.string()});
  const Finished done = run_program(words);
  REQUIRE_MESSAGE(done.code == 0, done.err);
  const std::string html = TempFolder::get(page);
  CHECK(html.size() < 1'000'000);
  const std::string plan = with({"train", "--plan"}, {}).out;
  const std::size_t at = plan.find("peak");
  REQUIRE(at != std::string::npos);
  std::smatch peak;
  REQUIRE(std::regex_search(plan.cbegin() + static_cast<std::ptrdiff_t>(at), plan.cend(), peak,
                            std::regex("peak +([0-9.]+ [KMG]?i?B|[0-9]+ bytes)")));
  CHECK_MESSAGE(html.find("<td class=\"number\">" + peak[1].str() + "</td>") != std::string::npos, peak[1].str());
  // The memory of a teacher is not known here: no figure rather than one without it.
  const std::string taught = (folder / "taught").string();
  REQUIRE(run_program({"train", "--checkpoint", first.string(), "--distill", first.string(), "--steps", "1", "--warmup",
                       "1", "--batch", "1", "--sample-tokens", "0", "--out", taught})
              .code == 0);
  REQUIRE(run_program({"report", taught, "--out", page.string(), "--sample-tokens", "0"}).code == 0);
  const std::string of_taught = TempFolder::get(page);
  const std::size_t row = of_taught.find("<th scope=\"row\">taught</th>", of_taught.find("id=\"costs-table\""));
  REQUIRE(row != std::string::npos);
  const std::string cells = of_taught.substr(row, of_taught.find("</tr>", row) - row);
  std::string five;  // parameters, gradients, optimizer, activations, peak
  for (int i = 0; i < 5; ++i) five += "<td class=\"number\">–</td>";
  CHECK_MESSAGE(cells.find("</th>" + five + "<td") != std::string::npos, cells);
}

TEST_CASE("cli plot: as wide as asked, with axes and a line for each run") {
  const Finished drawn = of_runs("plot", {"--metric", "val", "--rows", "8"});
  REQUIRE(drawn.code == 0);
  CHECK(drawn.out.rfind("validation loss, nats a token\n", 0) == 0);
  CHECK(drawn.out.find("30 steps") != std::string::npos);
  CHECK(drawn.out.find("a  att1\nb  att2\nc  hsm1\nd  hsm2\n") != std::string::npos);
  CHECK(std::count(drawn.out.begin(), drawn.out.end(), '\n') == 1 + 8 + 2 + 4);
  CHECK(of_runs("plot", {"--metric", "grad", "--log"}).code == 0);
  CHECK(of_runs("plot", {"--metric", "speeds"}).code == 2);
}

TEST_CASE("cli explore: a page that asks for nothing, the same numbers as JSON, and what is refused") {
  const TempFolder folder;
  const std::string run = compared_runs()[0];
  const std::string page = (folder / "explore.html").string();
  const Finished done = run_program({"explore", "--checkpoint", run, "--text", "First Citizen", "--out", page});
  REQUIRE_MESSAGE(done.code == 0, done.err);
  const std::string html = TempFolder::get(page);
  const std::regex address("(https?:|src=|url\\(|@import)");
  for (std::sregex_iterator it(html.begin(), html.end(), address), none; it != none; ++it) {
    CHECK(html.substr(static_cast<std::size_t>(it->position()), 26) == "http://www.w3.org/2000/svg");
  }
  const Finished numbers = run_program({"explore", "--checkpoint", run, "--text", "First Citizen", "--json"});
  REQUIRE_MESSAGE(numbers.code == 0, numbers.err);
  const Json json = json_of(numbers.out);
  CHECK(json["tokens"].size() == 13);
  CHECK(json["tokens"][0]["text"] == "F");
  CHECK(json["softmax"].size() == 2);
  CHECK(json["softmax"][0]["weights"].size() == 13 * 13);
  const std::string opening = "<script type=\"application/json\" id=\"data\">";
  const std::size_t begin = html.find(opening) + opening.size();
  const Json shown = Json::parse(html.substr(begin, html.find("</script>", begin) - begin));
  CHECK(shown["losses"] == json["losses"]);
  CHECK(shown["guesses"] == json["guesses"]);
  CHECK(shown["lens"] == json["lens"]);
  const Finished longer =
      run_program({"explore", "--checkpoint", run, "--text", "First Citizen: Before we", "--out", page});
  CHECK(longer.code == 0);
  CHECK(longer.err.find("the first 16 tokens of 24 are shown, the model's context") != std::string::npos);
  CHECK(json["softmax"][0]["by_distance"].size() == 5);
  CHECK(json["answers"].empty());
  const std::string task = "mqar(pairs=2,vocab=16,length=12)";
  const Finished of_task = run_program({"explore", "--checkpoint", run, "--task", task, "--json"});
  REQUIRE_MESSAGE(of_task.code == 0, of_task.err);
  const Json numbers_of_task = json_of(of_task.out);
  CHECK(numbers_of_task["task"].get<std::string>().find("mqar(") == 0);
  CHECK_FALSE(numbers_of_task["answers"].empty());
  for (const Json& answer : numbers_of_task["answers"])
    CHECK(answer.get<std::size_t>() < numbers_of_task["tokens"].size());
  CHECK(run_program({"explore", "--checkpoint", run, "--text", "First", "--task", task, "--json"}).code == 2);
  CHECK(run_program({"explore", "--checkpoint", run, "--text", "F", "--out", page}).code == 2);
  CHECK(run_program({"explore", "--checkpoint", run, "--out", page}).code == 2);
  CHECK(run_program({"explore", "--text", "First", "--out", page}).code == 2);
  CHECK(run_program({"explore", "--checkpoint", run, "--text", "First"}).code == 2);
  CHECK(run_program({"explore", "--checkpoint", run, "--text", "First", "--json", "--out", page}).code == 2);
}

TEST_CASE("cli explore --tape: one step with its check; what is refused") {
  const TempFolder folder;
  const std::string run = compared_runs()[0];
  const std::string page = (folder / "step.html").string();
  const std::vector<std::string> step{"explore", "--checkpoint", run, "--text", "First Citizen", "--tape"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = step;
    all.insert(all.end(), more.begin(), more.end());
    return run_program(all);
  };
  const Finished made = with({"--check", "--out", page});
  REQUIRE_MESSAGE(made.code == 0, made.err);
  CHECK(TempFolder::get(page).find("<script type=\"application/json\" id=\"data\">") != std::string::npos);
  const Finished numbers = with({"--check", "--json"});
  REQUIRE_MESSAGE(numbers.code == 0, numbers.err);
  const Json json = json_of(numbers.out);
  CHECK(json["tokens"].size() == 13);
  CHECK(json["entries"].back()["op"] == "linear_cross_entropy");
  CHECK(json["check"]["pass"] == true);
  CHECK(json_of(with({"--json"}).out)["check"].is_null());
  CHECK(with({"--recency", "3", "--json"}).code == 2);
  CHECK(run_program({"explore", "--checkpoint", run, "--text", "First", "--check", "--json"}).code == 2);
}

TEST_CASE("cli explore: of a task as long as the context a step has its last answer; none lies behind what is shown") {
  const TempFolder folder;
  const auto trained = [&](const std::string& task, const std::string& name) {
    const std::string out = (folder / name).string();
    Arguments words{"train", "--task", task, "--out", out};
    for (const char* sized : {"--layers", "--heads", "--threads", "--steps", "--warmup", "--batch"}) {
      words.insert(words.end(), {sized, "1"});
    }
    words.insert(words.end(), {"--d-model", "8"});
    REQUIRE(run_program(words).code == 0);
    return out;
  };
  const std::string copy = "copy(count=3,vocab=6)";  // 6 tokens; the third answer is the target of the last one
  const std::vector<std::string> short_task{"explore", "--checkpoint", trained(copy, "copy"), "--task", copy, "--json"};
  const Json shown = json_of(run_program(short_task).out);
  CHECK(shown["tokens"].size() == 6);
  CHECK(shown["answers"] == Json({4, 5}));
  std::vector<std::string> step = short_task;
  step.emplace_back("--tape");
  const Json walked = json_of(run_program(step).out);
  REQUIRE(walked["tokens"].size() == 7);
  for (std::size_t i = 0; i < 3; ++i) CHECK(walked["tokens"][4 + i]["id"] == walked["tokens"][i]["id"]);
  const std::string longer = "copy(count=520,vocab=6)";  // 1,040 tokens, of which a page takes 1,024
  const Finished cut =
      run_program({"explore", "--checkpoint", trained(longer, "longer"), "--task", longer, "--json", "--threads", "2"});
  REQUIRE_MESSAGE(cut.code == 0, cut.err);
  const Json numbers = json_of(cut.out);
  CHECK(numbers["tokens"].size() == 1024);
  CHECK(numbers["answers"].back() == 1023);
}

}  // namespace mixgrad::test
