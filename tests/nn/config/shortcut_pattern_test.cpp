// The --shortcut option.
#include "nn/config/patterns/shortcut_pattern.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "tests/support/close.h"

namespace mixgrad::test {
namespace {

std::string shortcut_refusal(const std::string& pattern) {
  return error_text<ValueError>([&] { parse_shortcut_pattern(pattern); });
}

}  // namespace

TEST_CASE("shortcut pattern: hidden states, and the defaults of the paper") {
  const ShortcutConfig four = parse_shortcut_pattern("2,4,6,8");
  CHECK((four.sources == std::vector<std::int64_t>{2, 4, 6, 8}));
  CHECK(four.hidden == 1024);
  CHECK((four.concat == ShortcutConcat::sequence));
  const ShortcutConfig all = parse_shortcut_pattern(" 0, 3 ( concat = depth , hidden = 7 ) ");
  CHECK((all.sources == std::vector<std::int64_t>{0, 3}));
  CHECK(all.hidden == 7);
  CHECK((all.concat == ShortcutConcat::depth));
  CHECK((parse_shortcut_pattern("1(concat=feature)").concat == ShortcutConcat::feature));
  CHECK((parse_shortcut_pattern("1(concat=sequence)") == parse_shortcut_pattern("1(hidden=1024)")));
}

TEST_CASE("shortcut pattern: what is wrong is said in one line") {
  const std::string form = "shortcut: hidden states like \"2,4,6,8(hidden=1024,concat=sequence)\" are required; ";
  const std::string state = "shortcut: each hidden state must be an integer from 0 to 1023; got ";
  CHECK(shortcut_refusal("") == state + "\"\"; correct it");
  CHECK(shortcut_refusal("2,,4") == state + "\"\"; correct it");
  CHECK(shortcut_refusal("2,x") == state + "\"x\"; correct it");
  CHECK(shortcut_refusal("-1") == state + "\"-1\"; correct it");
  CHECK(shortcut_refusal("1.5") == state + "\"1.5\"; correct it");
  CHECK(shortcut_refusal("1024") == state + "\"1024\"; correct it");
  CHECK(shortcut_refusal("(hidden=3)") == state + "\"\"; correct it");
  CHECK(shortcut_refusal("1(hidden=0)") ==
        "shortcut: hidden must be an integer from 1 to 1048576; got \"0\"; correct it");
  CHECK(shortcut_refusal("1(hidden=99999999999999999999)") ==
        "shortcut: hidden must be an integer from 1 to 1048576; got \"99999999999999999999\"; correct it");
  CHECK(shortcut_refusal("1(concat=deep)")
            .starts_with("shortcut: concat must be one of sequence, feature, depth; got \"deep\""));
  CHECK(shortcut_refusal("1(hiden=3)") ==
        "shortcut: the options are hidden, concat; got \"hiden\"; did you mean \"hidden\"? correct it");
  CHECK(shortcut_refusal("1(3)") == form + "the option \"3\" without \"=\" in \"1(3)\"; correct it");
  CHECK(shortcut_refusal("1()") == form + "the option \"\" without \"=\" in \"1()\"; correct it");
  CHECK(shortcut_refusal("1(hidden=3") == form + "no closing parenthesis at the end in \"1(hidden=3\"; correct it");
  CHECK(shortcut_refusal("1(hidden=3)4") == form + "no closing parenthesis at the end in \"1(hidden=3)4\"; correct it");
  CHECK(shortcut_refusal("1(hidden=3,hidden=4)") ==
        form + "the option \"hidden\" twice in \"1(hidden=3,hidden=4)\"; correct it");
}

}  // namespace mixgrad::test
