// A standard MIDI file of format 0 ("Standard MIDI-File Format Spec. 1.1"): the notes that the tokens of midi_tokens.h
// stand for, on channel 1 with the sound of program 1 (a piano). A quarter note has 50 ticks and half a second, so that
// a tick is a step of 10 ms.
#include <algorithm>
#include <tuple>

#include "core/error.h"
#include "nn/data/readers/midi_tokens.h"
#include "nn/data/writers/built_in_writers.h"
#include "nn/data/writers/byte_writer.h"

namespace mixgrad {
namespace {

constexpr std::uint16_t kTicksAQuarter = 50;
constexpr std::int64_t kLongestNumber = (1 << 28) - 1;

struct MidiMessage {
  std::int64_t step;
  bool on;  // those that end come before those that begin
  int pitch, velocity;
};

void append_length(std::string& bytes, std::int64_t value) {  // of variable length, seven bits a byte
  for (int shift = 21; shift > 0; shift -= 7) {
    if (value >> shift != 0) bytes += static_cast<char>(0x80 | (value >> shift & 0x7f));
  }
  bytes += static_cast<char>(value & 0x7f);
}

std::string track_of(const std::vector<MidiNote>& notes) {
  std::vector<MidiMessage> messages;
  for (const MidiNote& note : notes) {
    messages.push_back({note.on, true, note.pitch, note.velocity});
    messages.push_back({note.off, false, note.pitch, 64});
  }
  std::sort(messages.begin(), messages.end(), [](const MidiMessage& a, const MidiMessage& b) {
    return std::tie(a.step, a.on, a.pitch) < std::tie(b.step, b.on, b.pitch);
  });
  std::string track("\x00\xff\x51\x03\x07\xa1\x20", 7);  // 500,000 microseconds a quarter note
  track += std::string("\x00\xc0\x00", 3);
  std::int64_t now = 0;
  for (const MidiMessage& message : messages) {
    append_length(track, std::min(message.step - now, kLongestNumber));
    now = message.step;
    track += static_cast<char>(message.on ? 0x90 : 0x80);
    track += static_cast<char>(message.pitch);
    track += static_cast<char>(message.velocity);
  }
  track += std::string("\x00\xff\x2f\x00", 4);
  return track;
}

std::string midi_bytes(const WriterInput& input, const std::string& file) {
  // By the tokens of these notes: without overlaps of a pitch and silences of more than ten seconds.
  const std::vector<MidiNote> notes = midi_notes(midi_tokens(midi_notes(input.ids)));
  if (notes.empty()) {
    raise<ValueError>(file, ": at least one note is required; what was generated has none; ",
                      "give more --tokens or another --seed");
  }
  const std::string track = track_of(notes);
  std::string bytes = "MThd";
  append_big<std::uint32_t>(bytes, 6);
  append_big<std::uint16_t>(bytes, 0);  // format
  append_big<std::uint16_t>(bytes, 1);  // tracks
  append_big<std::uint16_t>(bytes, kTicksAQuarter);
  bytes += "MTrk";
  append_big(bytes, static_cast<std::uint32_t>(track.size()));
  return bytes + track;
}

}  // namespace

Writer built_in::midi_writer() {
  return {.name = "midi",
          .what = "MIDI music",
          .extensions = {".mid", ".midi"},
          .smallest_vocabulary = kMidiTokens,
          .largest_vocabulary = kMidiTokens,
          .start_ids = {kMidiEnd},
          .bytes = midi_bytes};
}

}  // namespace mixgrad
