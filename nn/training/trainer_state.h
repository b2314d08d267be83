// trainer.json: what a run needs beside model and optimizer to be resumed bit for bit.
//   {"format": "mixgrad-trainer-1", "step": 20, "optimizer_steps": 20, "skipped": 0,
//    "rng": {"seed": 1, "counter": 9223372036854775908}, "text": {"bytes": 1115394, "xxh3": "..."},
//    "best": {"step": 10, "val_loss": 1.5} or null, "evaluations_since_best": 1, "evaluation_due": true,
//    "last": {"loss": 1.6, "lr": 0.001, "grad_norm": 0.3, "tokens_per_s": 9000.0} or null,
//    "options": {"lr": "0.001", ...},
//    "schedule": {"formula": 2, "lengthened": [{"after": 20, "from": 20, "to": 40}]},
//    "lineage": {"course": 0, "parent": 10 or null}, "xxh3": "of all other values"}
// A run of version 0.1 has neither schedule nor lineage. An option's value that is not UTF-8, such as a path, is
// written as json_text (nn/files/strict_json.h) has it. And, of a run that timed its matrix products on a CUDA device
// (ops/matmul/choices.h),
//    "teacher": {"path": "/runs/base/step-2500", "xxh3": "of its model.safetensors"}     of a run with --distill
//    "matmul": {"library": "cublasLt 130101, NVIDIA H100 80GB HBM3", "algorithms": {"bf16 bf16 tn m384 ...": "00..."}}
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/matmul/choices.h"

namespace mixgrad {

inline constexpr std::int64_t kScheduleFormula = 2;

struct TrainerState {
  struct Best {
    std::int64_t step = 0;
    double val_loss = 0;
  };
  struct Last {  // of the step, as metrics.jsonl has it; not finite values are null in the file
    double loss = 0, lr = 0, grad_norm = 0, tokens_per_s = 0;
  };

  struct Lengthening {              // by --resume --steps
    std::int64_t after = 0;         // steps done
    std::int64_t from = 0, to = 0;  // steps of the whole run, before and since
  };

  std::int64_t step = 0;             // steps done, skipped ones included
  std::int64_t optimizer_steps = 0;  // those that changed the weights
  std::int64_t skipped = 0;          // those whose loss or gradient was not finite
  std::uint64_t rng_seed = 0, rng_counter = 0;
  std::uint64_t text_bytes = 0;  // of the file that is trained on
  std::string text_xxh3;
  std::optional<Best> best;                 // the lowest validation loss of the evaluations that count
  std::int64_t evaluations_since_best = 0;  // without an improvement of min-delta, for --early-stop
  bool evaluation_due = false;              // saved before the evaluation of this step
  std::optional<Last> last;                 // none before the first step
  std::map<std::string, std::string> options;
  // Of the schedule's decay: 2 ends at --min-lr; 1, of version 0.1, fell short of it by one step.
  std::int64_t schedule_formula = kScheduleFormula;
  std::vector<Lengthening> lengthened;
  // Resuming from a generation that is not the newest begins another course of the run (nn/files/generations.h).
  std::int64_t course = 0;
  std::optional<std::int64_t> parent;  // the step of the generation that this one continues
  MatmulChoices matmul;                // empty on a CPU
  struct Teacher {
    std::string path, xxh3;  // of the generation's folder, of its model.safetensors
  };
  std::optional<Teacher> teacher = {};  // of a run with --distill
};

std::string to_json(const TrainerState& state);
// FormatError, strict: every key known, present, once, of the right type and in its range; `source` names the file.
TrainerState parse_trainer_state(std::string_view text, const std::string& source);

}  // namespace mixgrad
