// trainer.json; what is accepted must be written and read back as the same. A changed value is refused by its XXH3,
// which would hide all that stands behind: so the right one, which the refusal names, is set, and then it must be
// accepted.
#include "nn/training/trainer_state.h"

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"

namespace mixgrad {
namespace {

void check_round_trip(const TrainerState& state) {
  const std::string text = to_json(state);
  MIXGRAD_ASSERT(to_json(parse_trainer_state(text, "again")) == text, "a state is read back as it was");
}

// The hash that a refusal of nothing but the hash names. Its beginning tells: further on may stand what came from
// outside.
std::string right_hash(std::string_view refusal) {
  constexpr std::string_view kBefore = "fuzz: xxh3 must be \"";
  constexpr std::string_view kAfter = "\", that of the other values";
  if (!refusal.starts_with(kBefore)) return {};
  refusal.remove_prefix(kBefore.size());
  MIXGRAD_ASSERT(refusal.substr(16).starts_with(kAfter), "16 digits are named");
  return std::string(refusal.substr(0, 16));
}

}  // namespace

void fuzz_one(std::string_view text) {
  std::string hash;
  try {
    check_round_trip(parse_trainer_state(text, "fuzz"));
  } catch (const FormatError& error) {
    hash = right_hash(error.what());
  }
  if (hash.empty()) return;
  nlohmann::json root = nlohmann::json::parse(text);
  root["xxh3"] = hash;
  bool accepted = true;
  try {
    check_round_trip(parse_trainer_state(root.dump() + "\n", "right"));
  } catch (const FormatError&) {
    accepted = false;
  }
  MIXGRAD_ASSERT(accepted, "a state with the right checksum is accepted");
}

}  // namespace mixgrad
