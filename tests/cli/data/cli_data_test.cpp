// mixgrad data show: what it prints, and the baselines of the published table.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cmath>

#include "tests/support/cli.h"
#include "tests/support/outside_data.h"

namespace mixgrad::test {
namespace {

Finished show(const Arguments& more) {
  Arguments arguments{"data", "show"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments);
}

TEST_CASE("cli data show: documents, lengths, symbols, samples and baselines") {
  const TempFolder folder;
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += "{\"text\":\"abc" + std::string(static_cast<std::size_t>(i % 3), 'd') + "\"}\n";
  const std::string path = folder.put("d.jsonl", lines).string();
  const Finished run = show({path, "--field", "text", "--json"});
  CHECK(trouble(run).empty());
  const Json found = json_of(run.out);
  CHECK(keys_of(found) == "data,documents,tokens,train_tokens,valid_tokens,symbols,lengths,frequent,ngram,samples");
  CHECK(found["documents"] == 40);
  CHECK(found["tokens"] == 159);
  CHECK(found["train_tokens"].get<int>() + found["valid_tokens"].get<int>() == 159);
  CHECK(found["symbols"] == 4);
  CHECK(found["lengths"]["shortest"] == 3);
  CHECK(found["lengths"]["longest"] == 5);
  CHECK(found["frequent"][0]["text"] == "a");
  CHECK(found["ngram"].size() == 6);
  CHECK(found["ngram"][0].get<double>() > found["ngram"][1].get<double>());
  CHECK(found["samples"][0] == "abc");
  const Finished text = show({path, "--field", "text"});
  CHECK(trouble(text).empty());
  CHECK(has(text.out, "40 documents, 159 tokens of 4 kinds"));
  CHECK(has(text.out, "sample: \"abc\""));
  CHECK(has(text.out, "n  nats a token"));
  const Finished none = show({path, "--field", "text", "--valid", "none", "--json"});
  CHECK(json_of(none.out)["ngram"].empty());
}

TEST_CASE("cli data show: token ids, a validation source, and a part of each") {
  const TempFolder folder;
  std::string ids;
  for (int i = 0; i < 400; ++i) ids += static_cast<char>(i % 7);
  const std::string train = folder.put("a.u8", ids).string();
  const std::string valid = folder.put("b.u8", "\1\2\3\4\5\6\x09").string();
  const Json found = json_of(show({train, "--valid", valid, "--first", "100,5", "--json"}).out);
  CHECK(found["train_tokens"] == 100);
  CHECK(found["valid_tokens"] == 5);
  CHECK(found["symbols"] == 7);
  CHECK(found["samples"][0].get<std::string>().starts_with("0 1 2 3 4 5 6 0"));
  CHECK(json_of(show({train, "--valid", valid, "--json"}).out)["symbols"] == 8);
  CHECK(json_of(show({train, "--valid", "0.25", "--json"}).out)["train_tokens"] == 300);
}

TEST_CASE("cli data show: what cannot be meant is refused with the option to give") {
  const TempFolder folder;
  const std::string text = folder.put("a.txt", "some text").string();
  const std::string ids = folder.put("a.u8", "\1\2\3").string();
  const std::string lines = folder.put("a.jsonl", "{\"story\":\"x\",\"id\":1}\n").string();
  const std::string table = folder.put("a.csv", "one,two\n1,2\n").string();
  const auto refused = [&](const Arguments& more, int code, const std::string& why) {
    const Finished run = show(more);
    CHECK(not_refused(run, code).empty());
    CHECK_MESSAGE(has(run.err, why), run.err);
  };
  refused({ids, "--tokenizer", "byte"}, 2, "--tokenizer cannot be given here");
  refused({lines}, 2, "the object has the fields story, id; choose one with --field NAME");
  refused({lines, "--field", "text"}, 3, "the field \"text\" is required; the object has the fields story, id");
  refused({table}, 2, "the file has the columns one, two; choose one with --column NAME");
  refused({table, "--column", "three"}, 3, "the column \"three\" is required");
  refused({text, ids}, 3, "all sources must hold text, or all of them token ids");
  refused({text, "--valid", ids}, 3, "the validation data must be of the kind of the training data");
  refused({text, "--valid", "0"}, 2, "a fraction must be above 0 and below 1");
  refused({text, "--valid", "none", text}, 2, "--valid takes sources, one fraction, or none");
  refused({text, "--first", "x"}, 2, "--first must be N or N,M");
  refused({text, "--first", "100"}, 2, "the training part must have at least 100 symbols; it has 8");
  refused({ids, "--codebooks", "a"}, 2, "--codebooks must be numbers");
  refused({(folder / "none").string()}, 4, "No such file");
  refused({folder.put("e.txt", "").string()}, 3, "it is empty");
  refused({""}, 2, "a source of data must be a file, a folder or a pattern such as books/*.txt; got an empty text");
  refused({text, ""}, 2, "got an empty text; check the quotes or the variable");
  refused({text, "--valid", ""}, 2, "got an empty text");
  for (const Arguments& words : {Arguments{"data", "prep"}, Arguments{"data", "prep", text}}) {
    const Finished run = run_program(words);
    CHECK(not_refused(run, 2).empty());
    CHECK_MESSAGE(has(run.err, "its argument must be one of show, prepare; got \"prep\""), run.err);
  }
}

struct PublishedRow {
  Arguments arguments;
  std::vector<double> ngram;
};

TEST_CASE("cli data show: the published baselines of nine data sets") {
  const auto whole = [](const char* name) { return outside_data(name).value_or("").string(); };
  const std::string first = whole("text/tinyshakespeare.txt");
  if (first.empty()) return;
  const std::vector<PublishedRow> rows{
      {{first}, {3.3473, 2.4858, 2.0492, 1.7738, 1.6688, 1.6981}},
      {{whole("text/tinystories_train.txt"), "--valid", whole("text/tinystories_valid.txt")},
       {3.0775, 2.2773, 1.6391, 1.2409, 1.0507, 0.9551}},
      {{whole("text/text8style_train.txt"), "--valid", whole("text/text8_head.txt")},
       {2.8548, 2.3827, 2.0030, 1.6453, 1.4219, 1.3517}},
      {{whole("text/text8_head.txt")}, {2.8501, 2.3789, 2.0635, 1.8153, 1.7249, 1.7620}},
      {{whole("text/enwik8_head.xml")}, {3.6369, 2.7705, 2.3451, 2.1205, 2.0520, 2.0898}},
      {{whole("text/wikitext2raw_train_part.txt"), "--valid", whole("text/wikitext103_valid.txt")},
       {3.1977, 2.5110, 2.1539, 1.8427, 1.6763, 1.6479}},
      {{whole("music/nottingham_train.abc"), "--valid", whole("music/nottingham_valid.abc")},
       {3.3540, 2.1479, 1.5050, 1.2889, 1.2635, 1.3015}},
      {{whole("music/asap_piano_train.u16"), "--valid", whole("music/asap_piano_valid.u16"), "--first", "3000000"},
       {4.7848, 3.9043, 3.6997, 3.8772, 4.0765}},
      {{whole("speech/fsdd_mulaw8k_train.u8"), "--valid", whole("speech/fsdd_mulaw8k_valid.u8"), "--first",
        "4000000,400000"},
       {5.0357, 3.7024, 3.4755, 3.6044}}};
  for (const PublishedRow& row : rows) {
    Arguments arguments = row.arguments;
    arguments.emplace_back("--json");
    const Finished run = show(arguments);
    INFO(row.arguments[0]);
    REQUIRE(trouble(run).empty());
    const Json found = json_of(run.out)["ngram"];
    for (std::size_t n = 0; n < row.ngram.size(); ++n) CHECK(std::abs(found[n].get<double>() - row.ngram[n]) < 1e-3);
  }
}

TEST_CASE("cli data: what is said of stdin names no option that the verb lacks") {
  const TempFolder folder;
  const int before = ::dup(STDIN_FILENO);
  const auto with_input = [&](const std::string& input, const Arguments& line) {
    const int opened = ::open(folder.put("input", input).c_str(), O_RDONLY);
    ::dup2(opened, STDIN_FILENO);
    Finished run = run_program(line);  // looks at the options that are named
    ::dup2(before, STDIN_FILENO);
    ::close(opened);
    return run;
  };
  const std::string out = (folder / "out").string();
  for (const Arguments& verb : {Arguments{"data", "show"}, {"data", "prepare", "--out", out}}) {
    const auto refused = [&](const std::string& input, const Arguments& more, int code, const std::string& text) {
      Arguments line = verb;
      line.insert(line.end(), more.begin(), more.end());
      const Finished run = with_input(input, line);
      CHECK(not_refused(run, code) == "");
      CHECK_MESSAGE(has(run.err, text), run.err);
      CHECK_MESSAGE(!has(run.err, "--data"), run.err);
    };
    refused("the cat", {"-", "-"}, 2, "the source - (stdin) must be given once");
    refused("the cat", {"-", "--valid", "-"}, 2, "--valid must name files or folders; got - (stdin)");
    refused("", {"-"}, 3, "is empty");
  }
  // stdin that cannot be read.
  const int folder_descriptor = ::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY);
  ::dup2(folder_descriptor, STDIN_FILENO);
  const Finished unreadable = run_program({"data", "show", "-"});
  ::dup2(before, STDIN_FILENO);
  ::close(folder_descriptor);
  ::close(before);
  CHECK(not_refused(unreadable, 4) == "");
  CHECK(has(unreadable.err, "stdin cannot be read: Is a directory"));
}

TEST_CASE("cli: --reset-state is kept with a run, taken by its evaluation, and refused where it means nothing") {
  const TempFolder folder;
  std::string lines;
  for (int i = 0; i < 60; ++i)
    lines += "{\"text\":\"abcd" + std::string(static_cast<std::size_t>(i % 5), 'e') + "\"}\n";
  const std::string path = folder.put("d.jsonl", lines).string();
  const std::string out = (folder / "run").string();
  const Arguments data{"--data", path, "--field", "text", "--document-token", "z"};
  const auto with = [&](Arguments head, const Arguments& more) {
    head.insert(head.end(), data.begin(), data.end());
    head.insert(head.end(), more.begin(), more.end());
    return run_program(head);
  };
  const Finished run = with({"train", "--reset-state"}, {"--layers", "1", "--d-model", "8", "--heads", "1", "--context",
                                                         "16", "--steps", "3", "--out", out, "--sample-tokens", "0"});
  CHECK(run.code == 0);
  CHECK(has(run.err, "nothing of a document reaches the next"));
  const Json own = json_of(run_program({"eval", "--checkpoint", out, "--json"}).out);
  const Json given = json_of(with({"eval", "--checkpoint", out, "--reset-state"}, {"--json"}).out);
  const Json packed = json_of(with({"eval", "--checkpoint", out}, {"--json"}).out);
  CHECK(own["loss"] == given["loss"]);
  CHECK(own["loss"] != packed["loss"]);
  CHECK(own["targets"] == packed["targets"]);
  const auto refused = [&](const Arguments& arguments, const std::string& why) {
    const Finished one = run_program(arguments);
    CHECK(one.code == 2);
    CHECK(has(one.err, why));
  };
  refused({"train", "--task", "parity", "--reset-state", "--out", out + "2"}, "the sequences of --task are generated");
  refused({"train", "--data", path, "--field", "text", "--reset-state", "--out", out + "2"},
          "--reset-state needs the token at which documents begin; there is none; give --document-token TOKEN");
  refused({"eval", "--checkpoint", out, "--reset-state"}, "without --data the data are read as the run read them");
  refused({"train", "--checkpoint", out, "--reset-state", "--out", out + "2"},
          "without --data the data are read as the run of --checkpoint read them");
}

}  // namespace
}  // namespace mixgrad::test
