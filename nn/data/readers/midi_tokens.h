// Music as tokens: the 389 symbols of a performance on one instrument.
//   0 .. 127    note on, of this pitch          256 .. 355  time goes on by (token - 255) * 10 ms
//   128 .. 255  note off, pitch token - 128     356 .. 387  velocities (token - 356) * 4 .. + 3 from here on
//   388         the end of the performance
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mixgrad {

inline constexpr std::int64_t kMidiTokens = 389;
inline constexpr std::int32_t kMidiNoteOff = 128, kMidiTime = 256, kMidiVelocity = 356, kMidiEnd = 388;
inline constexpr std::int64_t kMidiStepsAtOnce = 100;      // of 10 ms, in one token
inline constexpr std::int64_t kMidiLongestSilence = 1000;  // steps; a longer one is cut to it

// A note that sounds from step `on` to before step `off` (10 ms each).
struct MidiNote {
  std::int64_t on = 0, off = 0;
  int pitch = 0, velocity = 0;  // 0 .. 127
};

// The tokens of a performance, which begins with its first note. At each step first the notes that end, then those that
// begin, by pitch; a velocity stands before a note when it is another than that of the note before it. A note lasts at
// least one step and at most until its pitch is struck again; of two notes of a pitch that begin in the same step the
// longer one stays, with the greater velocity.
std::vector<std::int32_t> midi_tokens(std::vector<MidiNote> notes);

// The inverse, of any tokens below kMidiTokens: the notes of the first performance, with the middle of their bin as
// velocity (that of 64 before the first). A note off without its note means nothing; a note that is struck again ends
// there, and one that never ends, with the performance. midi_tokens(midi_notes(midi_tokens(n))) is midi_tokens(n).
std::vector<MidiNote> midi_notes(std::span<const std::int32_t> tokens);

}  // namespace mixgrad
