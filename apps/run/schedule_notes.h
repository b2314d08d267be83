// What is said about the learning rate before the first step: a warm-up that never ends, a run that is lengthened, a
// run of version 0.1.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/training/schedule.h"
#include "nn/training/trainer_state.h"

namespace mixgrad::app {

// One line each, without a line end. For a run that is resumed, `stored_steps` is what it had as --steps (0: a new
// run), and the state records the lengthening and the formula of the schedule that it follows from now on.
std::vector<std::string> schedule_notes(const Schedule& schedule, std::int64_t stored_steps, TrainerState& state);

}  // namespace mixgrad::app
