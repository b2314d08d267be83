// nn/data/readers: files of text, JSON, tables and tunes, and how a file's kind is found.
#include <doctest/doctest.h>

#include <set>

#include "core/error.h"
#include "tests/support/documents_sink.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;
using test::read_with;
using Texts = std::vector<std::string>;

std::string text_format_error(const std::string& reader, const std::string& content, const ReaderOptions& options) {
  return error_of<FormatError>([&] { read_with(reader, content, options); });
}

TEST_CASE("data readers: a text is one document, without the byte order mark") {
  CHECK(read_with("text", "a\nb\n").texts == Texts{"a\nb\n"});
  CHECK(read_with("text", "\xef\xbb\xbfgrün").texts == Texts{"grün"});
  CHECK(read_with("text", "").texts == Texts{""});
}

TEST_CASE("data readers: each tune of an ABC file is a document, and no byte is lost") {
  const Texts tunes{"% a collection\n\nX: 1\nT:One\nABC|\n\n", "X:2\nT:Two X:\nXX:\n", "X:3\nK:G"};
  const std::string file = tunes[0] + tunes[1] + tunes[2];
  CHECK(read_with("abc", file).texts == tunes);
  CHECK(read_with("abc", "X:1").texts == Texts{"X:1"});
  CHECK(has(text_format_error("abc", "T:None\n", {}), "file: ABC notation must have a line that begins with \"X:\""));
}

TEST_CASE("data readers: JSON lines") {
  const ReaderOptions text{.field = "text"};
  CHECK(read_with("json_lines", "{\"text\":\"a\\nb\",\"n\":1}\r\n\n{\"x\":{\"text\":[1,{\"text\":2}]},\"text\":\"\"}",
                  text)
            .texts == Texts{"a\nb", ""});
  CHECK(read_with("json_lines", "", text).texts.empty());
  const auto wrong = [&](const std::string& content) { return text_format_error("json_lines", content, text); };
  CHECK(has(wrong("{\"text\":\"a\"}\n{\"other\":1,\"b\":2}\n"),
            "file line 2: the field \"text\" is required; the object has the fields other, b; choose another"));
  CHECK(has(wrong("{}"), "the object is empty"));
  CHECK(has(wrong("{\"text\":5}"), "line 1: the field \"text\" must be a text; it is a number"));
  CHECK(has(wrong("{\"text\":[\"a\"]}"), "it is an array"));
  CHECK(has(wrong("{\"text\":\"a\",\"text\":\"b\"}"), "must occur once; it occurs twice"));
  CHECK(has(wrong("[{\"text\":\"a\"}]"), "an object is required; found an array"));
  CHECK(has(wrong("\"a\""), "an object is required; found a text"));
  CHECK(has(wrong("\n\n{\"text\":\"a\""), "file line 3: valid JSON in UTF-8 is required; it goes wrong at byte"));
  CHECK(has(wrong("{\"text\":\"\xff\"}"), "valid JSON in UTF-8 is required"));
  CHECK(has(wrong("{\"text\":\"\\ud800\"}"), "valid JSON in UTF-8 is required"));
  CHECK(has(wrong("{\"text\":\"a\"} x"), "valid JSON in UTF-8 is required"));
  CHECK(has(wrong(std::string("{\"text\":\"a\"}\0{", 14)), "JSON has no zero bytes; there is one at byte 12"));
  CHECK(has(wrong("{\"a\":" + std::string(5000, '[')), "at most 100 levels are read"));
  const std::string missing = error_of<ValueError>([&] { read_with("json_lines", "{\"a\":\"b\",\"c\":1}", {}); });
  CHECK(has(missing, "the object has the fields a, c; choose one with --field NAME"));
}

TEST_CASE("data readers: a JSON file is an array of objects, or one object") {
  const ReaderOptions text{.field = "t"};
  CHECK(read_with("json", "[{\"t\":\"a\"},\n {\"u\":[{}],\"t\":\"b\"}]", text).texts == Texts{"a", "b"});
  CHECK(read_with("json", "{\"t\":\"a\"}", text).texts == Texts{"a"});
  CHECK(read_with("json", "[]", text).texts.empty());
  const auto wrong = [&](const std::string& content) { return text_format_error("json", content, text); };
  CHECK(has(wrong("[{\"t\":\"a\"},{\"u\":1}]"), "file record 2: the field \"t\" is required"));
  CHECK(has(wrong("[\"a\"]"), "the array must hold objects; found a text"));
  CHECK(has(wrong("[[{\"t\":\"a\"}]]"), "the array must hold objects; found an array"));
  CHECK(has(wrong("3"), "an array of objects, or one object, is required; found a number"));
  CHECK(has(wrong(""), "valid JSON in UTF-8 is required"));
  CHECK(has(wrong("[{\"t\":\"a\"}"), "valid JSON in UTF-8 is required"));
}

TEST_CASE("data readers: tables with commas as RFC 4180 has them") {
  const ReaderOptions b{.column = "b"};
  const std::string file =
      "a,b,\"c \"\"d\"\"\"\r\n1,plain,x\n2,\"with, comma\",x\n3,\"two\r\nlines\",x\n4,\"say "
      "\"\"hi\"\"\",x\n5,,x\n\n6,\"\",x";
  CHECK(read_with("csv", file, b).texts == Texts{"plain", "with, comma", "two\r\nlines", "say \"hi\"", "", ""});
  CHECK(read_with("csv", file, {.column = "c \"d\""}).texts == Texts{"x", "x", "x", "x", "x", "x"});
  CHECK(read_with("csv", "b\nx\n\ny\n", b).texts == Texts{"x", "", "y"});  // one column: an empty line is a row
  CHECK(read_with("csv", "b,a\n\"\"\"\",\"\"\"\"\n", b).texts == Texts{"\""});
  const auto wrong = [&](const std::string& content) { return text_format_error("csv", content, b); };
  CHECK(has(wrong("a,bb\n1,2\n"), "file: the column \"b\" is required; the file has the columns a, bb; "));
  CHECK(has(wrong("b,b\n1,2\n"), "must occur once"));
  CHECK(has(wrong("a,b\n1\n"), "file line 2: a row must have 2 fields, as the first row; it has 1"));
  CHECK(has(wrong("a,b\n1,\"x\ny\"\n1,2,3\n"), "file line 4: a row must have 2 fields"));
  CHECK(has(wrong("a,b\n1,\"x\n"), "file line 2: a field that begins with a quote must end with one"));
  CHECK(has(wrong("a,b\n1,x\"y\"\n"), "file line 2: a field with quotes must stand in quotes"));
  CHECK(has(wrong("a,b\n1,\"x\"y\n"), "behind a closing quote a comma or the end of the row is required; found \"y\""));
  CHECK(has(wrong(""), "a first row with the names of the columns is required; the file is empty"));
  CHECK(
      has(error_of<ValueError>([&] { read_with("csv", "a,b\n", {}); }), "the columns a, b; choose one with --column"));
}

TEST_CASE("data readers: tables with tabs have no quotes") {
  CHECK(read_with("tsv", "a\tb\n\"x\t1, \"2\"\r\ny\t\n", {.column = "b"}).texts == Texts{"1, \"2\"", ""});
  CHECK(read_with("tsv", "a\tb\n\"x\t1\n", {.column = "a"}).texts == Texts{"\"x"});
  CHECK(has(text_format_error("tsv", "a\tb\n1\t2\t3\n", {.column = "a"}), "it has 3"));
}

TEST_CASE("data readers: the kind of a file is that of its extension, else of its content") {
  const auto kind = [](const std::string& name, std::string_view content) -> std::string {
    const Reader* reader = find_reader(name, content);
    return reader == nullptr ? "none" : reader->name;
  };
  CHECK(kind("a/b.TXT", "\x01") == "text");
  CHECK(kind("a.jsonl", "") == "json_lines");
  CHECK(kind("a.u16", "text") == "u16");
  CHECK(kind("a.d/none", "words") == "text");
  CHECK(kind("none", std::string_view("RIFF\0\0\0\0WAVE", 12)) == "wav");
  CHECK(kind("none", "MThd") == "midi");
  CHECK(kind("none", "\x93NUMPY") == "npy");
  CHECK(kind("none", "a\tb\r\n\f\x1a") == "text");
  CHECK(kind("none", std::string_view("a\0b", 3)) == "none");
  CHECK(kind("image.png", "\x89PNG\r\n") == "none");
  CHECK(kind("cut", std::string(65535, 'a') + "é") == "text");  // a character across the end of what is looked at
  CHECK(kind("cut", std::string(65535, 'a') + "\xc3") == "none");
  std::set<std::string> extensions;
  for (const Reader& reader : readers()) {
    CHECK_MESSAGE((reader.read != nullptr), reader.name);
    CHECK_FALSE(reader.what.empty());
    for (const std::string& extension : reader.extensions)
      CHECK_MESSAGE(extensions.insert(extension).second, extension);
  }
}

}  // namespace
}  // namespace mixgrad
