#include "apps/run/schedule_notes.h"
#include "core/text/plural.h"

#include <sstream>

namespace mixgrad::app {
namespace {

template <class... Parts>
std::string line(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

}  // namespace

std::vector<std::string> schedule_notes(const Schedule& schedule, std::int64_t stored_steps, TrainerState& state) {
  std::vector<std::string> notes;
  const bool resumed = stored_steps > 0;
  if (resumed && schedule.steps > stored_steps) {
    Schedule before = schedule;
    before.steps = stored_steps;
    notes.push_back(line("the run is lengthened from ", stored_steps, " to ", count_text(schedule.steps, "step"),
                         " and its schedule computed anew: step ", state.step + 1, " has the learning rate ",
                         schedule.at(state.step), " (", before.at(state.step), " before); trainer.json keeps this"));
    state.lengthened.push_back({state.step, stored_steps, schedule.steps});
  }
  if (resumed && state.schedule_formula < kScheduleFormula && state.step < schedule.steps) {
    notes.push_back(
        line("this run was begun by version 0.1, whose schedule ended one step short of --min-lr; from step ",
             state.step + 1, " on the learning rate reaches it in the last step, so the bits are not those ",
             "of version 0.1"));
    state.schedule_formula = kScheduleFormula;
  }
  if (schedule.warmup >= schedule.steps) {
    notes.push_back(
        line("the warm-up of ", count_text(schedule.warmup, "step"), " takes the whole run of ", schedule.steps,
             ": the learning rate rises to ", schedule.at(schedule.steps - 1),
             " in the last step and never falls; with a --warmup below --steps it reaches --lr and falls again"));
  }
  return notes;
}

}  // namespace mixgrad::app
