// The normalizers of Hugging Face tokenizers.
#include "nn/tokenizers/hugging_face/normalizers.h"

#include <doctest/doctest.h>

#include "tests/support/text.h"

namespace mixgrad {
namespace {

std::string normalised(const std::vector<Normalizer>& steps, const std::string& text) {
  std::string scratch;
  return std::string(normalize(steps, text, scratch));
}
std::string nfc(const std::string& text) { return normalised({NfcNormalizer{}}, text); }

TEST_CASE("normalizers: NFC composes, sorts marks, and leaves bytes that are no characters") {
  CHECK(nfc("e\u0301") == "\u00e9");
  CHECK(nfc("q\u0307\u0323") == "q\u0323\u0307");
  CHECK(nfc("A\u030a \u212b \u2126") == "\u00c5 \u00c5 \u03a9");
  CHECK(nfc("\u1100\u1161\u11a8") == "\uac01");
  CHECK(nfc("\u0958") == "\u0915\u093c");  // excluded from composition, so it grows
  CHECK(nfc("e\u0301\xff"
            "e\u0301\xc3\n\u0301e\u0301") == "\u00e9\xff\u00e9\xc3\n\u0301\u00e9");
  CHECK(nfc("=\u0338\n") == "\u2260\n");
  CHECK(nfc("plain \u00e9\n") == "plain \u00e9\n");
  CHECK(nfc("").empty());
}

TEST_CASE("normalizers: marks without a rule in the package tokenizers are neither sorted nor passed over") {
  CHECK(nfc("x\u0345\U00010f83") == "x\u0345\U00010f83");
  CHECK(nfc("e\u1df6\u0301") == "e\u1df6\u0301");
  CHECK(nfc("e\u0301\u1df6e\u0301") == "\u00e9\u1df6\u00e9");
  CHECK(nfc("\U00011935\U00011930") == "\U00011935\U00011930");
}

TEST_CASE("normalizers: Prepend leaves an empty text, Replace goes from left to right") {
  CHECK(normalised({PrependNormalizer{"_"}}, "ab") == "_ab");
  CHECK(normalised({PrependNormalizer{"_"}}, "").empty());
  CHECK(normalised({ReplaceNormalizer{"aa", "b"}}, "aaaaa") == "bba");
  CHECK(normalised({PrependNormalizer{" "}, ReplaceNormalizer{" ", "\u2581"}}, "a b") == "\u2581a\u2581b");
  CHECK(normalised({ReplaceNormalizer{"a", ""}, PrependNormalizer{"_"}}, "aa").empty());
}

TEST_CASE("normalizers: a text that nothing changes is not copied; growth is an upper bound") {
  std::string scratch;
  const std::string text = "plain text";
  CHECK(normalize({NfcNormalizer{}, ReplaceNormalizer{"x y", "z"}}, text, scratch).data() == text.data());
  const std::vector<Normalizer> steps{PrependNormalizer{"ab"}, ReplaceNormalizer{"b", "ccc"}, NfcNormalizer{}};
  const Growth most = growth(steps);
  for (const std::string& given : {std::string("bbbb"), std::string("\U0001d160"), std::string("\u0390\u1f82")}) {
    CHECK(normalised(steps, given).size() <= given.size() * most.factor + most.bytes);
  }
}

}  // namespace
}  // namespace mixgrad
