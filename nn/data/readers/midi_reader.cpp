// Standard MIDI files of format 0 and 1 ("Standard MIDI-File Format Spec. 1.1"), to the tokens of midi_tokens.h; a file
// is a document. All tracks and channels are one instrument; channel 10, percussion, has no pitches and is left out.
// The sustain pedal (controller 64) is folded into the lengths of notes: a note that is released while it is down lasts
// until it goes up or the pitch is struck again. Time follows the tempo (or SMPTE frames), rounded to 10 ms.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/error.h"
#include "nn/data/readers/built_in_readers.h"
#include "nn/data/readers/byte_reader.h"
#include "nn/data/readers/midi_tokens.h"

namespace mixgrad {
namespace {

constexpr int kPercussion = 9;  // counted from 0
constexpr int kSustain = 64, kSoundOff = 120, kNotesOff = 123;
constexpr std::uint32_t kFirstTempo = 500'000;  // microseconds a quarter note, before a file sets its own

// What matters here: notes, controllers and tempi.
struct MidiEvent {
  std::int64_t tick = 0;
  std::uint8_t status = 0;             // 0xff: a tempo
  std::uint8_t first = 0, second = 0;  // data bytes
  std::uint32_t tempo = 0;             // microseconds a quarter note
};

class MidiTrack {
 public:
  MidiTrack(std::string_view bytes, const std::string& source, std::size_t position, std::vector<MidiEvent>& events)
      : bytes_(bytes, source, position), source_(source), events_(events) {}

  void read() {
    while (!ended_) {
      tick_ += length("the time of an event");
      const auto byte = bytes_.little<std::uint8_t>("an event");
      if (byte == 0xff) {
        meta();
      } else if (byte == 0xf0 || byte == 0xf7) {
        bytes_.take(length("the length of a system message"), "a system message");
        status_ = 0;
      } else if (byte >= 0xf0) {
        fail("must be an event of a file", byte);
      } else {
        channel(byte);
      }
    }
  }

 private:
  [[noreturn]] void fail(const char* required, unsigned byte) const {
    raise<FormatError>(source_, ": the byte at ", bytes_.position() - 1, " ", required, "; it is ", byte,
                       "; the file is damaged: fetch or write it again");
  }

  std::uint32_t length(const char* what) {  // of variable length, at most 28 bits
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const auto byte = bytes_.little<std::uint8_t>(what);
      value = value << 7U | (byte & 0x7fU);
      if (byte < 0x80) return value;
    }
    fail("must end a number of at most four bytes", 0x80);
  }

  void meta() {
    const auto type = bytes_.little<std::uint8_t>("the type of a meta event");
    const std::string_view data = bytes_.take(length("the length of a meta event"), "a meta event");
    status_ = 0;
    ended_ = type == 0x2f;
    if (type != 0x51) return;
    ByteReader value(data, source_, bytes_.position() - data.size());
    const auto high = value.big<std::uint8_t>("a tempo");
    const auto low = value.big<std::uint16_t>("a tempo");
    events_.push_back({.tick = tick_, .status = 0xff, .tempo = static_cast<std::uint32_t>(high) << 16U | low});
  }

  void channel(std::uint8_t byte) {
    MidiEvent event{.tick = tick_};
    if (byte >= 0x80) {
      status_ = byte;
      event.first = data_byte();
    } else {  // the status of the event before it
      if (status_ == 0) fail("must begin an event (128 or more)", byte);
      event.first = byte;
    }
    event.status = status_;
    const unsigned kind = status_ & 0xf0U;
    if (kind != 0xc0 && kind != 0xd0) event.second = data_byte();
    if (kind == 0x80 || kind == 0x90 || kind == 0xb0) events_.push_back(event);
  }
  std::uint8_t data_byte() {
    const auto byte = bytes_.little<std::uint8_t>("an event");
    if (byte >= 0x80) fail("must be a data byte (below 128)", byte);
    return byte;
  }

  ByteReader bytes_;
  const std::string& source_;
  std::vector<MidiEvent>& events_;
  std::int64_t tick_ = 0;
  std::uint8_t status_ = 0;
  bool ended_ = false;
};

// The notes of a performance, from its events in order.
class NoteCollector {
 public:
  // Of a division below 0 (SMPTE), the tempo has no effect.
  explicit NoteCollector(std::int16_t division) {
    if (division > 0) {
      ticks_a_quarter_ = division;
      set_tempo(kFirstTempo);
    } else {
      const int frames = -(division >> 8);
      const double rate = frames == 29 ? 30 / 1.001 : frames;
      seconds_a_tick_ = 1 / (rate * (division & 0xff));
    }
    for (auto& channel : sounding_) channel.fill(-1);
  }

  void take(const MidiEvent& event) {
    seconds_ += static_cast<double>(event.tick - tick_) * seconds_a_tick_;
    tick_ = event.tick;
    if (event.status == 0xff) return set_tempo(event.tempo);
    const int channel = event.status & 0x0f;
    if (channel == kPercussion) return;
    const unsigned kind = event.status & 0xf0U;
    if (kind == 0xb0) return control(channel, event.first, event.second);
    if (kind == 0x90 && event.second > 0) return strike(channel, event.first, event.second);
    release(channel, event.first);
  }

  std::vector<MidiNote> finish() {
    for (int channel = 0; channel < kChannels; ++channel) end_all(channel);
    return std::move(notes_);
  }

 private:
  static constexpr int kChannels = 16, kPitches = 128;

  void set_tempo(std::uint32_t microseconds) {
    if (ticks_a_quarter_ > 0) seconds_a_tick_ = microseconds / 1e6 / ticks_a_quarter_;
  }
  std::int64_t step() const { return static_cast<std::int64_t>(std::floor(std::min(seconds_, 1e15) * 100 + 0.5)); }

  void strike(int channel, int pitch, int velocity) {
    end(channel, pitch);
    sounding_[channel][pitch] = static_cast<std::int64_t>(notes_.size());
    notes_.push_back({.on = step(), .off = step(), .pitch = pitch, .velocity = velocity});
  }
  void release(int channel, int pitch) {
    if (pedal_[channel]) {
      held_[channel][pitch] = true;
    } else {
      end(channel, pitch);
    }
  }
  void end(int channel, int pitch) {
    std::int64_t& note = sounding_[channel][pitch];
    if (note >= 0) notes_[static_cast<std::size_t>(note)].off = step();
    note = -1;
    held_[channel][pitch] = false;
  }
  void end_all(int channel) {
    for (int pitch = 0; pitch < kPitches; ++pitch) end(channel, pitch);
  }

  void control(int channel, int controller, int value) {
    if (controller == kSoundOff) end_all(channel);
    for (int pitch = 0; pitch < kPitches && controller == kNotesOff; ++pitch) release(channel, pitch);
    if (controller != kSustain) return;
    pedal_[channel] = value >= 64;
    for (int pitch = 0; pitch < kPitches && !pedal_[channel]; ++pitch) {
      if (held_[channel][pitch]) end(channel, pitch);
    }
  }

  std::int64_t tick_ = 0;
  double seconds_ = 0, seconds_a_tick_ = 0;
  int ticks_a_quarter_ = 0;  // 0: SMPTE
  std::vector<MidiNote> notes_;
  std::array<std::array<std::int64_t, kPitches>, kChannels> sounding_{};  // index into notes_, or -1
  std::array<std::array<bool, kPitches>, kChannels> held_{};              // released while the pedal is down
  std::array<bool, kChannels> pedal_{};
};

std::int16_t read_division(ByteReader& header, const std::string& source) {
  const auto division = header.big<std::int16_t>("the division of time");
  const int frames = -(division >> 8);
  const bool smpte = division < 0 && (frames == 24 || frames == 25 || frames == 29 || frames == 30);
  if (division > 0 || (smpte && (division & 0xff) != 0)) return division;
  raise<FormatError>(source, ": the division of time must be ticks a quarter note, or frames of 24, 25, 29 or 30 a ",
                     "second; it is ", division, "; the file is damaged: fetch or write it again");
}

bool is_midi(std::string_view content) { return content.starts_with("MThd"); }

void read_midi(std::string_view content, const std::string& source, const ReaderOptions&, DocumentSink& sink) {
  if (!is_midi(content)) {
    raise<FormatError>(source, ": a MIDI file begins with MThd; this one does not; give a standard MIDI file");
  }
  ByteReader bytes(content, source);
  bytes.take(4, "the header");
  const auto length = bytes.big<std::uint32_t>("the length of the header");
  ByteReader header(bytes.take(length, "the header"), source, bytes.position());
  const auto format = header.big<std::uint16_t>("the format");
  const auto tracks = header.big<std::uint16_t>("the number of tracks");
  if (format > 1) {
    raise<FormatError>(source, ": MIDI of format 0 or 1 is required; the file has format ", format,
                       "; save it with one song of simultaneous tracks");
  }
  const std::int16_t division = read_division(header, source);
  std::vector<MidiEvent> events;
  std::size_t found = 0;
  while (bytes.left() > 0 && found < tracks) {
    const std::string_view name = bytes.take(4, "the name of a chunk");
    const auto size = bytes.big<std::uint32_t>("the length of a chunk");
    const std::size_t position = bytes.position();
    const std::string_view chunk = bytes.take(size, "a chunk");
    if (name != "MTrk") continue;
    MidiTrack(chunk, source, position, events).read();
    ++found;
  }
  if (found < tracks) {
    raise<FormatError>(source, ": the header promises ", tracks, " tracks; ", found,
                       " are there; the file is truncated: fetch or write it again");
  }
  std::stable_sort(events.begin(), events.end(),
                   [](const MidiEvent& a, const MidiEvent& b) { return a.tick < b.tick; });
  NoteCollector notes(division);
  for (const MidiEvent& event : events) notes.take(event);
  std::vector<MidiNote> all = notes.finish();
  if (all.empty()) {
    raise<FormatError>(source, ": at least one note is required, apart from percussion; there is none; ",
                       "leave the file out");
  }
  sink.ids(midi_tokens(std::move(all)));
  sink.end_document();
}

}  // namespace

Reader built_in::midi_reader() {
  return {.name = "midi",
          .what = "MIDI music",
          .extensions = {".mid", ".midi"},
          .yields = Reader::Yields::ids,
          .vocabulary = kMidiTokens,
          .recognises = is_midi,
          .read = read_midi};
}

}  // namespace mixgrad
