// The score of a model on a task, for people or for programs.
#pragma once

#include <string>

#include "apps/output/table.h"
#include "nn/evaluation/task_evaluation.h"

namespace mixgrad::app {

// A table of accuracy, and tables of it by hop, distance and position where there are several; or one JSON object:
//   {"task": "mqar(...)", "sequences": 1000, "answers": 8000, "accuracy": 0.99, "low": 0.98, "high": 0.99,
//    "token_accuracy": 0.99, "sequence_accuracy": 0.93, "loss": 0.03,
//    "by_position": [{"position": 16, "right": 331, "count": 333, "accuracy": 0.99, "low": 0.98, "high": 0.99}, ...],
//    "by_distance": [{"distance": 1, ...}, ...], "by_hop": [{"hop": 1, ...}, ...]}
void print_task_score(Format format, const std::string& task, const TaskScore& score);

// "99.25 %"
std::string percent(double share);

}  // namespace mixgrad::app
