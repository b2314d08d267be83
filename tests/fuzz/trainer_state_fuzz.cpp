// trainer.json; what is accepted must be written and read back as the same.
#include "nn/trainer_state.h"

#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  const TrainerState state = parse_trainer_state(text, "fuzz");
  MIXGRAD_ASSERT(to_json(parse_trainer_state(to_json(state), "again")) == to_json(state),
                 "a state is read back as it was");
}

}  // namespace mixgrad
