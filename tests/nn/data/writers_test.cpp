// nn/data/writers: what is written is what the reader of the same name reads.
#include "nn/data/writers/writer.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "core/rng.h"
#include "nn/data/readers/midi_tokens.h"
#include "nn/tokenizers/byte_tokenizer.h"
#include "nn/tokenizers/ids_tokenizer.h"
#include "tests/support/documents_sink.h"
#include "tests/support/outside_data.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;
using test::read_with;
using WrittenIds = std::vector<std::int32_t>;

std::string written(const std::string& file, const WriterInput& input) {
  const Writer* writer = find_writer(file);
  REQUIRE(writer != nullptr);
  return writer->bytes(input, file);
}

WrittenIds read_back(const std::string& name, const std::string& content) {
  const auto documents = read_with(name, content);
  REQUIRE(documents.id_lists.size() == 1);
  return documents.id_lists[0];
}

// A performance of random notes, as its tokens.
WrittenIds performance(std::uint64_t seed, int notes) {
  Rng rng(seed);
  std::vector<MidiNote> all;
  std::int64_t now = 0;
  for (int i = 0; i < notes; ++i) {
    now += static_cast<std::int64_t>(rng.below(i % 10 == 0 ? 900 : 40));
    const auto length = static_cast<std::int64_t>(rng.below(200));
    all.push_back({.on = now,
                   .off = now + length,
                   .pitch = static_cast<int>(rng.below(128)),
                   .velocity = static_cast<int>(1 + rng.below(127))});
  }
  return midi_tokens(all);
}

TEST_CASE("writers: MIDI of a performance is read as the same tokens") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    const WrittenIds tokens = performance(seed, seed == 1 ? 1 : 300);
    CHECK(midi_tokens(midi_notes(tokens)) == tokens);
    CHECK(read_back("midi", written("a.mid", {.ids = tokens})) == tokens);
    WrittenIds twice{kMidiEnd};  // what stands before a beginning, and what comes behind the end
    twice.insert(twice.end(), tokens.begin(), tokens.end());
    twice.insert(twice.end(), tokens.begin(), tokens.end());
    CHECK(read_back("midi", written("a.MIDI", {.ids = twice})) == tokens);
  }
}

TEST_CASE("writers: every performance of the piano data, through a file and back") {
  const auto path = test::outside_data("music/asap_piano_valid.u16");
  if (!path) return;
  const std::string bytes = test::TempFolder::get(*path);
  WrittenIds tokens;
  int performances = 0;
  for (std::size_t at = 0; at + 1 < bytes.size(); at += 2) {
    tokens.push_back(static_cast<unsigned char>(bytes[at]) | static_cast<unsigned char>(bytes[at + 1]) << 8);
    if (tokens.back() != kMidiEnd) continue;
    CHECK(read_back("midi", written("a.mid", {.ids = tokens})) == tokens);
    tokens.clear();
    ++performances;
  }
  CHECK(performances == 24);
}

TEST_CASE("writers: MIDI of any tokens is a file that is read, and whose tokens come back") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    WrittenIds tokens{60};
    for (int i = 0; i < 400; ++i) tokens.push_back(static_cast<std::int32_t>(rng.below(kMidiTokens - 1)));
    const WrittenIds once = read_back("midi", written("a.mid", {.ids = tokens}));
    CHECK(once == midi_tokens(midi_notes(tokens)));
    CHECK(read_back("midi", written("a.mid", {.ids = once})) == once);
  }
}

TEST_CASE("writers: the notes of a few tokens, by hand") {
  const WrittenIds tokens{60, 258, 188, 356 + 31, 62, 255 + 100, 62, 255 + 5, 190, 200, 64};
  const std::vector<MidiNote> notes = midi_notes(tokens);
  REQUIRE(notes.size() == 4);
  const auto is = [](const MidiNote& note, std::int64_t on, std::int64_t off, int pitch, int velocity) {
    return note.on == on && note.off == off && note.pitch == pitch && note.velocity == velocity;
  };
  CHECK(is(notes[0], 0, 3, 60, 64));
  CHECK(is(notes[1], 3, 103, 62, 126));
  CHECK(is(notes[2], 103, 108, 62, 126));
  CHECK(is(notes[3], 108, 108, 64, 126));
  const std::string file = written("a.mid", {.ids = WrittenIds{356 + 20, 60, 255 + 50, 188}});
  const std::string wanted(
      "MThd\0\0\0\6\0\0\0\1\0\x32MTrk\0\0\0\x16\0\xff\x51\3\7\xa1\x20\0\xc0\0\0\x90\x3c\x52\x32\x80\x3c\x40\0\xff\x2f"
      "\0",
      44);
  CHECK(file == wanted);
}

TEST_CASE("writers: WAV of every token is read as the same token, at the same rate") {
  WrittenIds tokens;
  for (std::int32_t token = 0; token < 256; ++token) tokens.push_back(token);
  const std::string file = written("a.wav", {.ids = tokens, .rate = 11025});
  CHECK(file.size() == 44 + 2 * 256);
  const auto documents = read_with("wav", file);
  CHECK(documents.id_lists == std::vector<WrittenIds>{tokens});
  CHECK(documents.sound_rate == 11025);
}

TEST_CASE("writers: ABC is the text from its first tune on") {
  const std::string tune = "X:1\nT:a\nK:C\nCDEF|\n\nX:2\nK:G\nGABc|";
  for (const std::string before : {"", "\n", "rest of a tune|\n\n"}) {
    const std::string file = written("a.abc", {.text = before + tune});
    CHECK(file == tune + "\n");
    std::string again;
    for (const std::string& document : read_with("abc", file).texts) again += document;
    CHECK(again == file);
    CHECK(written("a.abc", {.text = file}) == file);
  }
}

TEST_CASE("writers: what has nothing to write, and models of something else, are refused") {
  const auto error = [](const auto& call) { return error_of<ValueError>(call); };
  CHECK(
      has(error([] { written("a.abc", {.text = "no X: at the start"}); }), "a.abc: a tune begins with a line \"X:\""));
  CHECK(has(error([] { written("a.wav", {}); }), "a.wav: at least one sample is required"));
  CHECK(has(error([] { written("a.mid", {.ids = WrittenIds{388, 300}}); }), "a.mid: at least one note is required"));
  const auto misfit = [&](const std::string& file, const Tokenizer& tokenizer) {
    return error([&] { find_writer(file)->require_fit(file, tokenizer); });
  };
  CHECK(misfit("a.mid", *ids_tokenizer(389)) == "");
  CHECK(misfit("a.wav", *ids_tokenizer(256)) == "");
  CHECK(misfit("a.wav", *ids_tokenizer(255)) == "");
  CHECK(misfit("a.abc", *byte_tokenizer()) == "");
  CHECK(misfit("a.mid", *ids_tokenizer(256)) ==
        "a.mid: MIDI music needs a model of 389 token ids, such as one that was trained on .mid, .midi; this one is of "
        "256 token ids; give a file of another kind, or leave it out");
  CHECK(has(misfit("a.wav", *byte_tokenizer()), "needs a model of up to 256 token ids"));
  CHECK(has(misfit("a.wav", *ids_tokenizer(257)), "of 257 token ids"));
  CHECK(has(misfit("a.abc", *ids_tokenizer(389)), "needs a model of text"));
  CHECK(find_writer("a.mp3") == nullptr);
  CHECK(find_writer(".mid") == nullptr);
  CHECK(find_writer("a.b/mid") == nullptr);
  CHECK(writer_extensions() == ".mid, .midi, .abc, .wav, .wave");
}

}  // namespace
}  // namespace mixgrad
