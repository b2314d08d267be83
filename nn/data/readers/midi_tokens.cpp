#include "nn/data/readers/midi_tokens.h"

#include <algorithm>
#include <array>
#include <tuple>

namespace mixgrad {
namespace {

// Notes of one pitch, one after the other: ordered, without overlap.
void separate_notes(std::vector<MidiNote>& notes) {
  std::sort(notes.begin(), notes.end(), [](const MidiNote& a, const MidiNote& b) {
    return std::tie(a.pitch, a.on, a.off, a.velocity) < std::tie(b.pitch, b.on, b.off, b.velocity);
  });
  std::vector<MidiNote> separate;
  for (MidiNote note : notes) {
    note.off = std::max(note.off, note.on + 1);
    if (!separate.empty() && separate.back().pitch == note.pitch) {
      MidiNote& before = separate.back();
      if (before.on == note.on) {
        before.off = std::max(before.off, note.off);
        before.velocity = std::max(before.velocity, note.velocity);
        continue;
      }
      before.off = std::min(before.off, note.on);
    }
    separate.push_back(note);
  }
  notes = std::move(separate);
}

struct TimedToken {
  std::int64_t step;
  std::int32_t token;  // a note off or a note on
  int velocity;
};

}  // namespace

std::vector<std::int32_t> midi_tokens(std::vector<MidiNote> notes) {
  separate_notes(notes);
  std::vector<TimedToken> events;
  events.reserve(2 * notes.size());
  for (const MidiNote& note : notes) {
    events.push_back({note.on, note.pitch, note.velocity});
    events.push_back({note.off, kMidiNoteOff + note.pitch, 0});
  }
  std::sort(events.begin(), events.end(), [](const TimedToken& a, const TimedToken& b) {
    const bool a_on = a.token < kMidiNoteOff;
    const bool b_on = b.token < kMidiNoteOff;
    return std::tie(a.step, a_on, a.token) < std::tie(b.step, b_on, b.token);
  });
  std::vector<std::int32_t> tokens;
  std::int32_t velocity = -1;
  std::int64_t now = events.empty() ? 0 : events.front().step;
  for (const TimedToken& event : events) {
    std::int64_t steps = std::min(event.step - now, kMidiLongestSilence);
    for (; steps > 0; steps -= kMidiStepsAtOnce) {
      tokens.push_back(kMidiTime - 1 + static_cast<std::int32_t>(std::min(steps, kMidiStepsAtOnce)));
    }
    now = event.step;
    const std::int32_t bin = kMidiVelocity + event.velocity / 4;
    if (event.token < kMidiNoteOff && bin != velocity) {
      velocity = bin;
      tokens.push_back(bin);
    }
    tokens.push_back(event.token);
  }
  tokens.push_back(kMidiEnd);
  return tokens;
}

std::vector<MidiNote> midi_notes(std::span<const std::int32_t> tokens) {
  std::vector<MidiNote> notes;
  std::array<std::int64_t, kMidiNoteOff> sounding{};  // index into notes, or -1
  sounding.fill(-1);
  std::int64_t now = 0;
  int velocity = 64;
  const auto end = [&](std::int32_t pitch) {
    std::int64_t& note = sounding[static_cast<std::size_t>(pitch)];
    if (note >= 0) notes[static_cast<std::size_t>(note)].off = now;
    note = -1;
  };
  for (const std::int32_t token : tokens) {
    if (token == kMidiEnd) {
      if (!notes.empty()) break;
    } else if (token >= kMidiVelocity) {
      velocity = (token - kMidiVelocity) * 4 + 2;
    } else if (token >= kMidiTime) {
      now += token - kMidiTime + 1;
    } else if (token >= kMidiNoteOff) {
      end(token - kMidiNoteOff);
    } else {
      end(token);
      sounding[static_cast<std::size_t>(token)] = static_cast<std::int64_t>(notes.size());
      notes.push_back({.on = now, .off = now, .pitch = token, .velocity = velocity});
    }
  }
  for (std::int32_t pitch = 0; pitch < kMidiNoteOff; ++pitch) end(pitch);
  return notes;
}

}  // namespace mixgrad
