// Characters that a vocabulary lacks: listed with counts and first places, left out or replaced.
#include "nn/tokenizers/misfits.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "core/text/utf8.h"
#include "nn/tokenizers/byte_tokenizer.h"
#include "nn/tokenizers/char_tokenizer.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad::test {
namespace {

TEST_CASE("misfits: all of them, the most frequent first, with the first place of each") {
  const TokenizerPtr tokenizer = char_tokenizer("ab\n", "x");
  CHECK(
      error_of<ValueError>([&] { (void)tokenizer->encode("abé\nXaé\rb\né", "t.txt"); }) ==
      "t.txt: every character must be one of the 3 of the vocabulary; found 5 others of 3 kinds: 'é' (U+00E9) 3 "
      "times, first at line 1, column 3 (byte 2); 'X' (U+0058) at line 2, column 1 (byte 5); U+000D at line 2, column "
      "4 (byte 9); leave them out, or use a model with the byte tokenizer");
  CHECK(has(error_of<ValueError>([&] { (void)tokenizer->encode("a  b ", "t"); }),
            "found ' ' (U+0020) 3 times, first at line 1, column 2 (byte 1); leave"));
  // Wide letters and letters of several bytes are one column each.
  CHECK(has(error_of<ValueError>([&] { (void)char_tokenizer("山é", "x")->encode("山é山Q", "t"); }),
            "found 'Q' (U+0051) at line 1, column 4 (byte 8)"));
  // Characters that nobody would see are named by their number alone.
  CHECK(has(error_of<ValueError>([&] { (void)tokenizer->encode("a\u200bb\ufeff", "t"); }),
            "found 2 others of 2 kinds: U+200B at line 1, column 2 (byte 1); U+FEFF at"));
}

TEST_CASE("misfits: of many kinds ten are listed, and the rest is counted") {
  std::string text;
  for (char32_t code = 0x4e00; code < 0x4e00 + 40; ++code) text += utf8_bytes(code) + utf8_bytes(code);
  const std::string error = error_of<ValueError>([&] { (void)char_tokenizer("a", "x")->encode("a" + text, "t"); });
  CHECK(has(error, "found 80 others of 40 kinds: '一' (U+4E00) 2 times, first at line 1, column 2 (byte 1); "));
  CHECK(
      has(error, "'三' (U+4E09) 2 times, first at line 1, column 20 (byte 55); and 60 characters of 30 other kinds; "));
  const std::string eleven = error_of<ValueError>([&] { (void)char_tokenizer("a", "x")->encode("bcdefghijkl", "t"); });
  CHECK(has(eleven, "; and 1 character of 1 other kind; leave"));
}

TEST_CASE("misfits: text that stops being UTF-8 behind the first of them") {
  const std::string error = error_of<ValueError>([] {
    (void)char_tokenizer("a", "x")->encode(
        "aXaY\xff"
        "Z",
        "t");
  });
  CHECK(has(error, "found 2 others of 2 kinds: 'X' (U+0058) at line 1, column 2 (byte 1); 'Y' (U+0059)"));
  CHECK(has(error, "; from byte 4 on it is not UTF-8; leave"));
}

TEST_CASE("misfits: a text is fitted to a vocabulary") {
  const TokenizerPtr tokenizer = char_tokenizer("ab\n", "x");
  const std::string text = "aéb\nXb";
  const FittedText skipped = fit_text(text, *tokenizer, UnknownRule::skip(), "t");
  CHECK(skipped.text == "ab\nb");
  CHECK(skipped.misfits.count == 2);
  CHECK(skipped.misfits.kinds.size() == 2);
  CHECK(fit_text(text, *tokenizer, UnknownRule::replace_by('a'), "t").text == "aab\nab");
  CHECK(fit_text("ab", *tokenizer, UnknownRule::skip(), "t").misfits.empty());
  CHECK(fit_text("ab", *tokenizer, UnknownRule::skip(), "t").text == "");
  CHECK(has(error_of<ValueError>([&] { fit_text(text, *tokenizer, {}, "t"); }), "t: every character must be one of"));
  CHECK(fit_text("ab", *tokenizer, {}, "t").misfits.empty());
  CHECK(error_of<ValueError>([&] { fit_text(text, *tokenizer, UnknownRule::replace_by(U'?'), "t"); }) ==
        "t: what replaces unknown characters must be in the vocabulary; got '?' (U+003F); choose another character");
  CHECK(has(error_of<FormatError>([&] { fit_text("a\nXb\xc3", *tokenizer, UnknownRule::skip(), "t"); }),
            "t: a vocabulary of characters needs UTF-8 text; an invalid sequence begins at byte 4 (line 2)"));
}

TEST_CASE("misfits: progress is told about every MiB, and a tokenizer says whether it has misfits at all") {
  const std::string text(std::size_t{5} << 19U, 'a');  // 2.5 MiB
  std::vector<std::size_t> reached;
  fit_text(text, *char_tokenizer("a", "x"), UnknownRule::skip(), "t",
           [&](std::size_t bytes) { reached.push_back(bytes); });
  CHECK((reached == std::vector<std::size_t>{std::size_t{1} << 20U, std::size_t{1} << 21U}));
  CHECK(byte_tokenizer()->expresses_any_text());
  CHECK(byte_tokenizer()->has_character(U'山'));
  CHECK_FALSE(char_tokenizer("a", "x")->expresses_any_text());
  CHECK(char_tokenizer("aé", "x")->has_character(U'é'));
  CHECK_FALSE(char_tokenizer("aé", "x")->has_character(U'山'));
}

}  // namespace
}  // namespace mixgrad::test
