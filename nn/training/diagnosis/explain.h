// Where the first number that is not finite came from, for the message with which a run stops.
#pragma once

#include <string>

#include "nn/training/train_step.h"
#include "nn/training/trainer.h"

namespace mixgrad {

// How the answer begins when every value of the step was finite.
inline constexpr const char* kNoOperator = "no operator's";

// Runs the step that draws its batches with `rng` once more, without changing a parameter, and watches every value
// (FiniteWatch in finite.h). The step has the same bits as before, so the same number appears. Takes the memory of a
// step beside a trainer's: destroy the trainer first. Returns for example
// "the output of gelu (operator 7 of the tape, after layers.0.mlp.up.weight), f32 [12,64,512]: element 3 is nan".
// Of a job of several ranks it looks at what ranks.rank ran; no rank waits for another.
std::string explain_not_finite(Decoder& model, Optimizer& optimizer, const BatchStream& data, Rng rng,
                               std::int64_t batch, std::int64_t accumulate, const StepDropout& dropout = {},
                               const Objective* objective = nullptr, const StepRanks& ranks = {});

}  // namespace mixgrad
