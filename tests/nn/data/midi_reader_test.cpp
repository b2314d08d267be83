// nn/data/readers: MIDI to the 389 symbols of a performance.
#include <doctest/doctest.h>

#include <algorithm>

#include "core/error.h"
#include "nn/data/readers/midi_tokens.h"
#include "tests/support/documents_sink.h"
#include "tests/support/outside_data.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;
using test::read_with;
using MidiIds = std::vector<std::int32_t>;

std::string big(std::uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}

std::string variable(std::uint32_t value) {
  std::string text(1, static_cast<char>(value & 0x7f));
  while ((value >>= 7U) != 0) text.insert(text.begin(), static_cast<char>(0x80 | (value & 0x7f)));
  return text;
}

std::string event(std::uint32_t delta, std::initializer_list<int> bytes) {
  std::string text = variable(delta);
  for (const int byte : bytes) text += static_cast<char>(byte);
  return text;
}

std::string track(std::string events) {
  events += event(0, {0xff, 0x2f, 0});
  return "MTrk" + big(static_cast<std::uint32_t>(events.size()), 4) + events;
}

// 500 ticks a quarter note: at the tempo without a tempo event, a tick is a millisecond.
std::string midi(int format, const std::vector<std::string>& tracks, int division = 500) {
  std::string file = "MThd" + big(6, 4) + big(static_cast<unsigned>(format), 2) +
                     big(static_cast<unsigned>(tracks.size()), 2) + big(static_cast<unsigned>(division), 2);
  for (const std::string& one : tracks) file += one;
  return file;
}

MidiIds ids_of_midi(const std::string& file) { return read_with("midi", file).id_lists.at(0); }
std::string midi_error(const std::string& file) {
  return error_of<FormatError>([&] { read_with("midi", file); });
}

constexpr std::int32_t time_token(int ms) { return 255 + ms / 10; }
constexpr std::int32_t loud(int velocity) { return 356 + velocity / 4; }

TEST_CASE("midi: notes, times, velocities; running status; silence before the first note is none") {
  const std::string one = track(event(700, {0x90, 60, 64}) + event(100, {64, 66}) + event(50, {60, 0}) +
                                event(0, {0x80, 64, 0}) + event(2345, {0x90, 60, 100}) + event(10, {60, 0}));
  const MidiIds want{loud(64),
                     60,
                     time_token(100),
                     64,
                     time_token(50),
                     128 + 60,
                     128 + 64,
                     time_token(1000),
                     time_token(1000),
                     time_token(350),
                     loud(100),
                     60,
                     time_token(10),
                     128 + 60,
                     388};
  CHECK(ids_of_midi(midi(0, {one})) == want);
  CHECK(ids_of_midi(midi(1, {track(""), one})) == want);
}

TEST_CASE("midi: tempo of another track, frames a second, rounding to 10 ms") {
  const std::string notes = track(event(0, {0x90, 60, 64}) + event(500, {60, 0}));
  const std::string slow = track(event(0, {0xff, 0x51, 3, 0x0f, 0x42, 0x40}) +    // a second a quarter note
                                 event(250, {0xff, 0x51, 3, 0x07, 0xa1, 0x20}));  // then half of one
  CHECK(ids_of_midi(midi(1, {slow, notes})) == MidiIds{loud(64), 60, time_token(750), 188, 388});
  const int frames25 = (256 - 25) << 8 | 40;  // 1000 ticks a second
  CHECK(ids_of_midi(midi(0, {notes}, frames25)) == MidiIds{loud(64), 60, time_token(500), 188, 388});
  const int drop = (256 - 29) << 8 | 100;  // 2997 ticks a second: 500 of them are 167 ms
  CHECK(ids_of_midi(midi(0, {notes}, drop)) == MidiIds{loud(64), 60, time_token(170), 188, 388});
}

TEST_CASE("midi: the sustain pedal lengthens notes; a pitch that is struck again ends before") {
  const std::string pedal =
      track(event(0, {0xb0, 64, 127}) + event(0, {0x90, 60, 64}) + event(10, {60, 0}) + event(20, {62, 64}) +
            event(10, {62, 0}) + event(30, {60, 64}) + event(30, {0xb0, 64, 0}) + event(100, {0x80, 60, 0}));
  CHECK(ids_of_midi(midi(0, {pedal})) == MidiIds{loud(64), 60, time_token(30), 62, time_token(40), 188, 60,
                                                 time_token(30), 190, time_token(100), 188, 388});
  const std::string down_to_end = track(event(0, {0xb0, 64, 64}) + event(0, {0x90, 60, 64}) + event(10, {60, 0}) +
                                        event(90, {62, 1}) + event(10, {0xb0, 120, 0}));
  CHECK(ids_of_midi(midi(0, {down_to_end})) ==
        MidiIds{loud(64), 60, time_token(100), loud(1), 62, time_token(10), 188, 190, 388});
}

TEST_CASE("midi: short notes, doubled notes, percussion, long silence, notes that nobody ends") {
  const std::string close =
      track(event(0, {0x90, 60, 64}) + event(1, {60, 0}) + event(1, {60, 65}) + event(500, {60, 0}));
  CHECK(ids_of_midi(midi(0, {close})) == MidiIds{loud(64), 60, time_token(500), 188, 388});
  const std::string doubled = track(event(0, {0x90, 60, 4}) + event(100, {60, 0}));
  const std::string longer = track(event(0, {0x91, 60, 90}) + event(200, {60, 0}));
  CHECK(ids_of_midi(midi(1, {doubled, longer})) == MidiIds{loud(90), 60, time_token(200), 188, 388});
  const std::string silent =
      track(event(0, {0x99, 36, 100}) + event(0, {0x90, 60, 64}) + event(10, {60, 0}) + event(60'000, {62, 64}));
  MidiIds want{loud(64), 60, time_token(10), 188};
  want.insert(want.end(), 10, 355);
  want.insert(want.end(), {62, time_token(10), 190, 388});
  CHECK(ids_of_midi(midi(0, {silent})) == want);
}

TEST_CASE("midi: other events are read over") {
  const std::string other = track(event(0, {0xff, 0x03, 2, 'a', 'b'}) + event(0, {0xf0, 3, 1, 2, 0xf7}) +
                                  event(0, {0xc0, 5}) + event(0, {0xd0, 5}) + event(0, {0xe0, 0, 64}) +
                                  event(0, {0xa0, 60, 1}) + event(0, {0x90, 60, 64}) + event(10, {60, 0}));
  CHECK(ids_of_midi(midi(0, {"XFIH" + big(2, 4) + "ab" + other})) == MidiIds{loud(64), 60, time_token(10), 188, 388});
}

TEST_CASE("midi: truncated files and what is no MIDI of format 0 or 1") {
  const std::string notes = event(0, {0x90, 60, 64}) + event(100, {60, 0});
  const std::string good = midi(1, {track(notes), track(notes)});
  for (std::size_t bytes = 0; bytes < good.size(); ++bytes) {
    const std::string error = midi_error(good.substr(0, bytes));
    CHECK_MESSAGE(error.starts_with("file: "), bytes << ": " << error);
  }
  std::string lying = midi(0, {track(notes)});
  lying[21] = '\x7f';  // the length of the track
  CHECK(has(midi_error(lying), "a chunk must have 127 bytes; 11 are left at byte 22; the file is truncated"));
  lying[21] = '\x05';
  CHECK(has(midi_error(lying), "are left at byte 27"));
  CHECK(has(midi_error(midi(0, {"MTrk" + big(2, 4) + std::string("\0\x90", 2)})),
            "an event must have 1 byte; 0 are left at byte 24"));
  CHECK(has(midi_error(midi(2, {track(notes)})), "MIDI of format 0 or 1 is required; the file has format 2"));
  CHECK(has(midi_error(midi(0, {track(notes)}, 0)), "the division of time must be"));
  CHECK(has(midi_error(midi(0, {track(notes)}, 0xe200)), "the division of time must be"));
  CHECK(has(midi_error(midi(0, {track(event(0, {0xff, 0x2f, 0}))})), "at least one note is required"));
  CHECK(has(midi_error(midi(0, {track(event(0, {60, 64}))})), "must begin an event (128 or more); it is 60"));
  CHECK(has(midi_error(midi(0, {track(event(0, {0x90, 200, 64}))})), "must be a data byte (below 128); it is 200"));
  CHECK(has(midi_error(midi(0, {track(event(0, {0xf8}))})), "must be an event of a file; it is 248"));
  CHECK(has(midi_error(midi(0, {track(std::string("\xff\xff\xff\xff\x7f", 5))})), "a number of at most four bytes"));
  CHECK(has(midi_error("MTxx"), "a MIDI file begins with MThd"));
}

// Tokens of real performances as MIDI, and read again: the same tokens.
TEST_CASE("midi: performances of the piano data come back as they were") {
  const auto path = test::outside_data("music/asap_piano_valid.u16");
  if (!path) return;
  const MidiIds all = read_with("u16", test::TempFolder::get(*path)).id_lists.at(0);
  int performances = 0;
  for (std::size_t begin = 0; begin < all.size(); ++performances) {
    const auto end = std::find(all.begin() + static_cast<std::ptrdiff_t>(begin), all.end(), 388) + 1;
    const MidiIds want(all.begin() + static_cast<std::ptrdiff_t>(begin), end);
    begin += want.size();
    std::string events;
    std::uint32_t wait = 0;
    int velocity = 0;
    for (const std::int32_t token : want) {
      if (token < 256) {
        events += event(wait, {token < 128 ? 0x90 : 0x80, token % 128, token < 128 ? velocity : 0});
        wait = 0;
      } else if (token < 356) {
        wait += static_cast<std::uint32_t>(token - 255) * 10;
      } else {
        velocity = (token - 356) * 4 + 2;
      }
    }
    CHECK(ids_of_midi(midi(0, {track(events)})) == want);
  }
  CHECK(performances == 24);
}

}  // namespace
}  // namespace mixgrad
