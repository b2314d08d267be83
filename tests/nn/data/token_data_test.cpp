// nn/data/token_data.h: tokens of a text, random batches, evaluation windows.
#include "nn/data/token_data.h"

#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>

#include "core/error.h"
#include "nn/files/hash.h"
#include "nn/tokenizers/byte_tokenizer.h"
#include "nn/tokenizers/char_tokenizer.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;
using test::TempFolder;
using Ids = std::vector<std::int32_t>;

Ids ids_of(const TokenData& data) {
  Ids ids(static_cast<std::size_t>(data.size()));
  data.gather(0, data.size(), ids.data());
  return ids;
}

Tensor batch(std::int64_t rows, std::int64_t context) { return Tensor::empty({rows, context}, DType::i32); }

// 0, 1, 2, ..., n-1 as bytes.
TokenData counting(std::size_t n) {
  std::string text(n, '\0');
  std::iota(text.begin(), text.end(), '\0');
  return TokenData::from_text(text, byte_tokenizer());
}

TEST_CASE("token data: a mapped file that is overwritten is an error; touched, longer or renamed over it is not") {
  const TempFolder folder;
  const std::string text = "abcabbacbacbbcaabcab";
  const auto path = folder.put("text.txt", text);
  const TokenData data = TokenData::open(path, tokenizer_type("char"), Identify::yes);
  const Tensor tokens = batch(2, 4);
  const Tensor targets = batch(2, 4);
  const auto read = [&] {
    Rng rng(1);
    data.sample_batch(rng, tokens, targets);
    const EvalWindows windows(data, data.all(), 4);
    windows.fill(0, tokens, targets);
  };
  const auto later = [&](int seconds) {  // file systems count time in ticks
    std::filesystem::last_write_time(path, std::filesystem::last_write_time(path) + std::chrono::seconds(seconds));
  };
  read();
  later(1);
  read();
  std::ofstream(path, std::ios::app) << "more";
  later(2);
  read();
  std::fstream(path, std::ios::in | std::ios::out) << "cba";  // the same kinds of characters
  later(3);
  const std::string why = "text.txt: the file must stay as it is while it is read; it was overwritten with another";
  CHECK(has(error_of<IoError>(read), why));
  CHECK(has(error_of<IoError>(read), why));
  std::fstream(path, std::ios::in | std::ios::out) << "abc";  // restored
  later(4);
  read();
  folder.put("other.txt", "cccccccccccccccccccc");
  std::filesystem::rename(folder / "other.txt", path);  // the mapping shows the old content
  read();
}

TEST_CASE("token data: one byte order mark at the start does not belong to the text, in every form of it") {
  const TempFolder folder;
  const std::string mark = "\xef\xbb\xbf";
  for (const std::string& text : {std::string("abba cab"), std::string("Grüße abba"),
                                  std::string("\xef\xbb\xbf"
                                              "ab\xef\xbb\xbf"),
                                  std::string("ab")}) {
    const auto plain = folder.put("plain.txt", text);
    const auto marked = folder.put("marked.txt", mark + text);
    for (const char* type : {"char", "byte"}) {
      CAPTURE(text);
      CAPTURE(type);
      const TokenData with = TokenData::open(marked, tokenizer_type(type), Identify::yes);
      const TokenData want = TokenData::from_text(text, with.tokenizer_ptr());
      CHECK(ids_of(with) == ids_of(want));
      CHECK(with.text_id().value() == TextId{text.size(), xxh3_hex(text)});
      CHECK(identify_text(marked) == with.text_id().value());
      const TokenData again = TokenData::open(marked, with.tokenizer_ptr());  // with a tokenizer that exists
      CHECK(ids_of(again) == ids_of(want));
      if (!text.starts_with(mark)) {
        CHECK(TokenData::open(plain, tokenizer_type(type), Identify::yes).text_id() == with.text_id());
        CHECK_FALSE(with.tokenizer().id_of(mark).has_value());
      }
    }
  }
  const auto only = folder.put("only.txt", mark);
  CHECK(has(error_of<FormatError>([&] { TokenData::open(only, tokenizer_type("byte")); }), "(it is empty)"));
}

TEST_CASE("token data: mapped bytes, mapped ASCII, encoded narrow and wide give the tokenizer's ids") {
  const TempFolder folder;
  const std::string ascii = "hello world\n";
  const auto path = folder.put("ascii", ascii);
  CHECK(ids_of(TokenData::open(path, byte_tokenizer())) == byte_tokenizer()->encode(ascii));
  const TokenizerPtr chars = char_tokenizer(ascii, "x");
  CHECK(ids_of(TokenData::open(path, chars)) == chars->encode(ascii));
  CHECK(ids_of(TokenData::from_text("hi!", byte_tokenizer())) == Ids{104, 105, 33});

  const std::string greek = "αβγ αβ\n😀";
  const TokenizerPtr narrow = char_tokenizer(greek, "x");
  const TokenData data = TokenData::open(folder.put("greek", greek), narrow);
  CHECK(ids_of(data) == narrow->encode(greek));
  CHECK(data.size() == 8);
  CHECK(data.byte_count(data.all()) == static_cast<std::int64_t>(greek.size()));
  CHECK(data.byte_count({2, 4}) == 3);
  CHECK(data.byte_count({7, 8}) == 4);
  CHECK(data.byte_count({3, 3}) == 0);

  std::string every;
  for (char32_t code = 0x10000; code < 0x10000 + 70'000; ++code) {
    every += {static_cast<char>(0xf0U | code >> 18U), static_cast<char>(0x80U | ((code >> 12U) & 0x3fU)),
              static_cast<char>(0x80U | ((code >> 6U) & 0x3fU)), static_cast<char>(0x80U | (code & 0x3fU))};
  }
  const TokenizerPtr wide = char_tokenizer(every, "x");
  CHECK(wide->vocab_size() == 70'000);
  CHECK(ids_of(TokenData::from_text(every, wide)).back() == 69'999);
}

TEST_CASE("token data: a text that makes its own tokenizer gives the same tokens, and is identified") {
  const TempFolder folder;
  std::string long_text;  // crosses the stretches in which a text is read
  while (long_text.size() < (std::size_t{5} << 19U)) long_text += "the quick brown fox jumps over the lazy dog\n";
  for (const std::string& text : {std::string("hello world\n"), std::string("αβγ αβ\n😀"), long_text, long_text + "é"}) {
    const auto path = folder.put("text", text);
    for (const std::string type : {"char", "byte"}) {
      CAPTURE(type);
      CAPTURE(text.size());
      const TokenData made = TokenData::open(path, tokenizer_type(type), Identify::yes);
      CHECK(made.tokenizer() == *make_tokenizer(type, {.text = text}));
      CHECK(ids_of(made) == made.tokenizer().encode(text));
      REQUIRE(made.text_id().has_value());
      CHECK(*made.text_id() == TextId{text.size(), xxh3_hex(text)});
      const TokenData again = TokenData::open(path, made.tokenizer_ptr(), Identify::yes);
      CHECK(ids_of(again) == ids_of(made));
      CHECK(again.text_id() == made.text_id());
      CHECK_FALSE(TokenData::open(path, made.tokenizer_ptr()).text_id().has_value());
      CHECK_FALSE(TokenData::open(path, tokenizer_type(type)).text_id().has_value());
    }
  }
  CHECK(has(error_of<FormatError>([&] { TokenData::open(folder.put("o", "x"), tokenizer_type("char")); }), "has one"));
}

TEST_CASE("token data: moving keeps the tokens, short text included") {
  TokenData data = TokenData::from_text("abc", byte_tokenizer());
  const TokenData moved = std::move(data);
  CHECK(ids_of(moved) == Ids{97, 98, 99});
}

TEST_CASE("token data: the split is floor(0.9 n)") {
  for (const std::int64_t n : {2, 3, 9, 10, 11, 19, 20, 99, 100}) {
    const TokenData data = counting(static_cast<std::size_t>(n));
    CHECK(data.train() == TokenRange{0, n * 9 / 10});
    CHECK(data.valid() == TokenRange{n * 9 / 10, n});
    CHECK(data.all() == TokenRange{0, n});
    CHECK(data.valid().size() >= 1);
  }
  const TokenData data = counting(20);
  CHECK(data.split("train") == data.train());
  CHECK(data.split("valid") == data.valid());
  CHECK(data.split("all") == data.all());
  CHECK(has(error_of<ValueError>([&] { (void)data.split("vaild"); }), "did you mean \"valid\"?"));
}

TEST_CASE("token data: files that cannot be used") {
  const TempFolder folder;
  const TokenizerPtr bytes = byte_tokenizer();
  CHECK(has(error_of<IoError>([&] { TokenData::open(folder / "none", bytes); }), "No such file"));
  CHECK(has(error_of<IoError>([&] { TokenData::open(folder.path(), bytes); }), "a directory"));
  const std::string empty = error_of<FormatError>([&] { TokenData::open(folder.put("e", ""), bytes); });
  CHECK(has(empty, "at least two tokens are required"));
  CHECK(has(empty, "the file has none (it is empty); choose a longer text"));
  CHECK(has(empty, (folder / "e").string()));
  CHECK(has(error_of<FormatError>([&] { TokenData::open(folder.put("o", "x"), bytes); }), "the file has one"));
  CHECK(has(error_of<FormatError>([&] { TokenData::from_text("é", char_tokenizer("é", "x")); }), "has one"));

  const TokenizerPtr ascii = char_tokenizer("ab\n", "x");
  const std::string foreign = error_of<ValueError>([&] { TokenData::open(folder.put("f", "ab\nacb"), ascii); });
  CHECK(has(foreign, (folder / "f").string()));
  CHECK(has(foreign, "found 'c' (U+0063) at line 2, column 2 (byte 4)"));
  CHECK(has(error_of<ValueError>([&] { TokenData::from_text("aé", ascii); }),
            "found 'é' (U+00E9) at line 1, column 2 (byte 1)"));
  CHECK(has(error_of<FormatError>([&] { TokenData::from_text("a\xff", ascii); }), "invalid sequence begins at byte 1"));
  const TokenizerPtr greek = char_tokenizer("αβ", "x");
  CHECK(has(error_of<ValueError>([&] { TokenData::from_text("αβγ", greek); }),
            "found 'γ' (U+03B3) at line 1, column 3 (byte 4)"));
  CHECK(has(error_of<FormatError>([&] { TokenData::from_text("αβ\xce", greek); }), "begins at byte 4"));
}

TEST_CASE("token data: characters outside the vocabulary are left out or replaced, and counted") {
  const TempFolder folder;
  const std::string text =
      "\xef\xbb\xbf"
      "aébc\nba";
  const std::filesystem::path path = folder.put("t", text);
  const TextId id = identify_text(path);
  for (const std::string vocabulary : {"ab\n", "ab\nλ"}) {  // mapped; encoded
    const TokenizerPtr tokenizer = char_tokenizer(vocabulary, "x");
    const TokenData skipped = TokenData::open(path, tokenizer, Identify::yes, UnknownRule::skip());
    CHECK(tokenizer->decode(ids_of(skipped)) == "ab\nba");
    CHECK(skipped.byte_count(skipped.all()) == 5);
    CHECK(skipped.misfits().count == 2);
    CHECK(skipped.misfits().list() ==
          "'é' (U+00E9) at line 1, column 2 (byte 1); 'c' (U+0063) at line 1, column 4 (byte 4)");
    CHECK(skipped.text_id() == id);  // that of the file
    const TokenData replaced = TokenData::open(path, tokenizer, Identify::yes, UnknownRule::replace_by('b'));
    CHECK(tokenizer->decode(ids_of(replaced)) == "abbb\nba");
    CHECK(replaced.text_id() == id);
    CHECK(TokenData::open(path, tokenizer, Identify::no, UnknownRule::skip()).text_id() == std::nullopt);
  }
  // Nothing to leave out: the same data as without the rule.
  const TokenData whole = TokenData::open(path, char_tokenizer("abcé\n", "x"), Identify::yes, UnknownRule::skip());
  CHECK(whole.misfits().empty());
  CHECK(whole.size() == 7);
  CHECK(whole.text_id() == id);
  CHECK(has(error_of<FormatError>(
                [&] { TokenData::open(path, char_tokenizer("xy", "x"), Identify::no, UnknownRule::skip()); }),
            "at least two tokens are required, one to read and one to predict; the file has none of the vocabulary"));
}

TEST_CASE("token data: a mapped file that changes under us") {
  const TempFolder folder;
  const auto path = folder.put("a", "abababababab");
  const TokenData data = TokenData::open(path, char_tokenizer("ab", "x"));
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).put('z');
  CHECK(has(error_of<IoError>([&] { (void)ids_of(data); }), "must not change while it is in use"));
}

TEST_CASE("token data: random batches are windows of the training part, all of them, evenly") {
  const TokenData data = counting(20);  // 18 for training
  const Tensor tokens = batch(4, 15);
  const Tensor targets = batch(4, 15);
  Rng rng(7);
  std::map<std::int32_t, int> starts;
  for (int i = 0; i < 500; ++i) {
    data.sample_batch(rng, tokens, targets);
    for (std::int64_t b = 0; b < 4; ++b) {
      const std::int32_t* x = tokens.data<std::int32_t>() + b * 15;
      const std::int32_t* y = targets.data<std::int32_t>() + b * 15;
      ++starts[x[0]];
      bool right = true;
      for (int t = 0; t < 15; ++t) right = right && x[t] == x[0] + t && y[t] == x[t] + 1;
      CHECK(right);
    }
  }
  REQUIRE(starts.size() == 3);  // 18 - 15
  for (const auto& [start, count] : starts) {
    CHECK(start <= 2);
    CHECK(count > 550);
  }
  // The same state of the generator, the same batch.
  Rng again(7);
  Rng third(7);
  data.sample_batch(again, tokens, targets);
  const Tensor other = batch(4, 15);
  data.sample_batch(third, other, targets);
  CHECK(other.equal_bits(tokens));
  CHECK(again.counter() == third.counter());
}

TEST_CASE("token data: batches that cannot be") {
  const TokenData data = counting(20);
  Rng rng(1);
  data.sample_batch(rng, batch(1, 17), batch(1, 17));
  const std::string text = error_of<ValueError>([&] { data.sample_batch(rng, batch(1, 18), batch(1, 18)); });
  CHECK(text ==
        "text: training with context 18 needs at least 18 + 1 training tokens; there are 18 (the first 90 % of 20); "
        "choose a smaller context or a longer text");
  CHECK(has(error_of<ValueError>([&] { data.check_context(0); }), "at least a context of 1"));
  CHECK(has(error_of<ValueError>([&] { data.check_context(INT64_MAX); }), "smaller context"));
  CHECK(has(error_of<ValueError>([] { counting(2).check_context(1); }), "there are 1"));
  CHECK(has(error_of<ShapeError>([&] { data.sample_batch(rng, batch(1, 4), batch(2, 4)); }), "got [1,4] and [2,4]"));
  CHECK(has(error_of<ShapeError>([&] { data.sample_batch(rng, Tensor(), Tensor()); }), "sample_batch: tokens and"));
  const Tensor wrong = Tensor::empty({1, 4}, DType::f32);
  CHECK_THROWS_AS(data.sample_batch(rng, wrong, wrong), DTypeError);
}

// Every (token, target) of the windows in order, with each target's input checked to be the token before it.
Ids targets_of(const TokenData& data, const EvalWindows& windows, std::int64_t rows) {
  const Ids ids = ids_of(data);
  const Tensor tokens = batch(rows, windows.context());
  const Tensor targets = batch(rows, windows.context());
  Ids seen;
  std::int64_t filled = 0;
  for (std::int64_t i = 0; i < windows.batches(rows); ++i) {
    tokens.fill(77);
    targets.fill(77);
    filled += windows.fill(i * rows, tokens, targets);
    for (std::int64_t k = 0; k < tokens.numel(); ++k) {
      const std::int32_t token = tokens.data<std::int32_t>()[k];
      const std::int32_t target = targets.data<std::int32_t>()[k];
      if (target == -1) {
        CHECK(token == 0);
        continue;
      }
      CHECK(target == token + 1);  // the text counts
      seen.push_back(target);
    }
  }
  CHECK(filled == windows.target_count());
  return seen;
}

TEST_CASE("eval windows: every token of a range once, at any context and batch") {
  const TokenData data = counting(100);
  for (const std::int64_t context : {1, 2, 3, 7, 10, 89, 90, 99, 100, 1000}) {
    for (const std::int64_t rows : {1, 3, 64}) {
      CAPTURE(context);
      CAPTURE(rows);
      for (const TokenRange range : {data.valid(), data.train(), data.all(), TokenRange{5, 6}}) {
        Ids expected;
        for (std::int64_t i = std::max<std::int64_t>(range.begin, 1); i < range.end; ++i) {
          expected.push_back(static_cast<std::int32_t>(i));
        }
        const EvalWindows windows(data, range, context);
        CHECK(targets_of(data, windows, rows) == expected);
        CHECK(windows.target_bytes() == windows.target_count());
      }
    }
  }
}

TEST_CASE("eval windows: with a stride every token once, each with the tokens before it that a window has") {
  const TokenData data = counting(60);
  for (const std::int64_t context : {1, 2, 7, 10, 58, 59, 100}) {
    for (std::int64_t stride = 1; stride <= context; stride += context > 20 ? 19 : 1) {
      CAPTURE(context);
      CAPTURE(stride);
      const EvalWindows windows(data, data.all(), context, stride);
      const Tensor tokens = batch(3, context);
      const Tensor targets = batch(3, context);
      std::int32_t next = 1;
      for (std::int64_t first = 0; first < windows.count(); first += 3) {
        windows.fill(first, tokens, targets);
        for (std::int64_t k = 0; k < targets.numel(); ++k) {
          const std::int32_t target = targets.data<std::int32_t>()[k];
          if (target == -1) continue;
          REQUIRE(target == next);
          CHECK(tokens.data<std::int32_t>()[k] == target - 1);
          const std::int64_t window = first + k / context;
          CHECK(windows.predicted(window).begin == window * stride + 1);
          CHECK(target == windows.predicted(window).begin + k % context);
          if (window > 0) CHECK(k % context >= context - stride);
          ++next;
        }
      }
      CHECK(next == 60);
    }
  }
  CHECK(has(error_of<ValueError>([&] { EvalWindows(data, data.all(), 4, 5); }),
            "the stride must be from 1 to the context, 4; got 5"));
  CHECK_THROWS_AS(EvalWindows(data, data.all(), 4, -1), ValueError);
}

TEST_CASE("eval windows: worked by hand") {
  const TokenData data = counting(20);  // held out: 18, 19
  const EvalWindows windows(data, data.valid(), 4);
  CHECK(windows.count() == 1);
  CHECK(windows.target_count() == 2);
  const Tensor tokens = batch(2, 4);
  const Tensor targets = batch(2, 4);
  CHECK(windows.fill(0, tokens, targets) == 2);
  CHECK(tokens.to_vector() == std::vector<double>{17, 18, 0, 0, 0, 0, 0, 0});
  CHECK(targets.to_vector() == std::vector<double>{18, 19, -1, -1, -1, -1, -1, -1});
  CHECK(windows.fill(1, tokens, targets) == 0);
  const TokenData greek = TokenData::from_text("αβγ", char_tokenizer("αβγ", "x"));
  CHECK(EvalWindows(greek, greek.all(), 8).target_bytes() == 4);
}

TEST_CASE("eval windows: what cannot be") {
  const TokenData two = counting(2);
  CHECK(EvalWindows(two, two.valid(), 4).target_count() == 1);
  CHECK(has(error_of<ValueError>([&] { EvalWindows(two, two.train(), 4); }), "at least one token to predict"));
  CHECK(has(error_of<ValueError>([&] { EvalWindows(two, two.valid(), 0); }), "context must be at least 1; got 0"));
  const EvalWindows windows(two, two.valid(), 4);
  CHECK(has(error_of<ShapeError>([&] { windows.fill(0, batch(1, 3), batch(1, 3)); }), "tokens must be [B,4]"));
  CHECK(has(error_of<ShapeError>([&] { windows.fill(0, batch(1, 4), batch(1, 3)); }), "two contiguous tensors"));
}

}  // namespace
}  // namespace mixgrad
