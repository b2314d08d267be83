// core/text: numbers from text, control characters, counted things. utf8 is in tokenizer_test, suggest in suggest_test.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include "core/text/escape.h"
#include "core/text/parse_number.h"
#include "core/text/plural.h"

namespace mixgrad {
namespace {

TEST_CASE("text: a number is the whole text or nothing") {
  CHECK(parse_integer("0") == 0);
  CHECK(parse_integer("-17") == -17);
  CHECK(parse_integer("9223372036854775807") == INT64_MAX);
  for (const char* text : {"", " 1", "1 ", "+1", "1.0", "1e3", "0x10", "9223372036854775808", "--1", "-", "1,2"}) {
    INFO(text);
    CHECK_FALSE(parse_integer(text).has_value());
  }
  CHECK(parse_number<std::uint64_t>("18446744073709551615") == UINT64_MAX);
  CHECK_FALSE(parse_number<std::uint64_t>("-1").has_value());
  CHECK(parse_number<double>("0.25") == 0.25);
  CHECK(parse_number<double>("1e-3") == 1e-3);
  for (const char* text : {"", "x", "1..2", "1e999", "0.5 "}) {
    INFO(text);
    CHECK_FALSE(parse_number<double>(text).has_value());
  }
}

// The page in the browser is compiled with a library that lacks from_chars for doubles.
TEST_CASE("text: strtod in the place of from_chars reads the same numbers") {
  for (const char* text : {"0.25",  "1e-3", "-1.5E+2", "12345678901234567890",
                           "1e308", "-0",   "7",       "",
                           "x",     "1..2", "1e999",   "0.5 ",
                           " 0.5",  "\t1",  "+1",      "0x10",
                           "1e",    "-",    "e5",      "1,2",
                           "inf",   "-inf", "nan",     "nan(1)"}) {
    const std::string shown = text;
    INFO(shown);
    const std::optional<double> read = parse_by_strtod<double>(text);
    const std::optional<double> wanted = parse_number<double>(text);
    REQUIRE(read.has_value() == wanted.has_value());
    if (wanted) CHECK((*read == *wanted || (std::isnan(*read) && std::isnan(*wanted))));
  }
  CHECK_FALSE(parse_by_strtod<double>(std::string_view("1\0", 2)).has_value());
  CHECK(parse_by_strtod<float>("0.25") == 0.25F);
  CHECK_FALSE(parse_by_strtod<float>("1e39").has_value());
}

TEST_CASE("text: control characters are escaped, in either form, with quotes or without") {
  const std::string text = std::string("a\"\\\n\t\x1b\x7f", 7) + std::string(1, '\0') + "é";
  CHECK(escaped(text, ControlForm::hex, EscapeQuotes::no) == "a\"\\\\n\\x09\\x1b\\x7f\\x00é");
  CHECK(escaped(text, ControlForm::hex, EscapeQuotes::yes) == "a\\\"\\\\\\n\\x09\\x1b\\x7f\\x00é");
  CHECK(escaped(text, ControlForm::unicode, EscapeQuotes::yes) == "a\\\"\\\\\\n\\u0009\\u001B\\u007F\\u0000é");
}

TEST_CASE("text: one thread, two threads") {
  CHECK(count_text(1, "thread") == "1 thread");
  CHECK(count_text(0, "thread") == "0 threads");
  CHECK(count_text(2, "layer") == "2 layers");
}

}  // namespace
}  // namespace mixgrad
