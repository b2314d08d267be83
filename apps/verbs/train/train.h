// The verb `mixgrad train`. Its steps are those of a RunLoop (apps/run/run_loop.h); here is everything before the
// first: train_options.cpp has the options, train_start.cpp what a run starts from, train.cpp the order of it all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "apps/options/distill_options.h"
#include "apps/options/model_options.h"
#include "apps/options/stored_options.h"
#include "apps/options/training_options.h"
#include "apps/options/verb.h"
#include "apps/run/open_run.h"
#include "apps/run/run_data.h"
#include "apps/run/run_loop.h"
#include "nn/distributed/communicator.h"

namespace mixgrad::app {

class Train : public Verb, private StoredOptions {
 public:
  std::string summary() const override { return "Train a model on a text, other data or a task"; }
  std::string example() const override { return "mixgrad train --preset char --out runs/char"; }
  void declare(OptionSet& options) override;
  StoredOptions* stored_options() override { return this; }
  OptionTexts load() override;
  void store(const OptionTexts& values) override;
  int run() override;

 private:
  struct Opened {
    std::unique_ptr<Decoder> model;
    RunData data;
  };

  // Options (train_options.cpp).
  void declare_sample(OptionSet& options);
  void declare_unknown(OptionSet& options);
  // Paths are stored as absolute ones, so that the run can be resumed from any folder.
  void store_data();
  bool validates() const { return model_.source.valid_choice().kind != ValidChoice::Kind::none; }
  bool resumed() const { return !resume_.empty(); }
  bool matches_heads() const { return distill_.any() && distill_.stage == "heads"; }

  // The start of a run (train_start.cpp).
  void refuse_for_ranks(int processes) const;
  void refuse_packed_heads(bool resets_state) const;
  void choose_folder();
  Opened open();
  Opened open_task() const;
  OpenedRun open_text();
  // A resumed run needs the text that it was trained on, which may lie elsewhere now.
  OpenedRun open_again(const std::function<OpenedRun()>& open_it) const;
  OpenRunOptions what_to_open() const;
  // What --distill minimises, with the teacher that it keeps; null without. Freezes what the stage leaves alone.
  std::unique_ptr<Objective> open_objective(Decoder& model, const RunData& data);
  // Refuses now what would fail later, and tells what was left out.
  void check_text(const TokenData& text, std::int64_t context) const;
  // Resuming from a generation that is not the newest leaves the course of the run. Whether it does.
  bool begin_course();

  // The order (train.cpp).
  int run_on(Communicator& ranks);
  // `ranks`: of a job of several processes, else null.
  int train(Communicator* ranks);
  // The options that must be the same on every rank, before any of them opens a file.
  void require_same_run(Communicator& ranks) const;
  // What the ranks opened: text, step and weights.
  void require_same_start(Communicator& ranks, const Decoder& model) const;
  ModelConfig planned_config() const;
  // Of the data or the task, else of the checkpoint: the one that a teacher must have too.
  TokenizerPtr planned_tokenizer() const;
  // In a job of several processes rank 0 alone prints the plan, for its own share of the batch: no share is larger.
  int print_plan();
  // What the folders and patterns of --data and --valid leave out: " (2 hidden files left out)".
  std::string left_out() const;
  void describe(const Decoder& model, const RunData& data, std::int64_t frozen) const;

  ModelOptions model_;
  TrainingOptions training_;
  DistillSettings distill_;
  RunOptions run_;
  std::string out_, resume_, checkpoint_, trace_, early_stop_, sampling_ = "random";
  std::filesystem::path generation_;  // of --resume
  TrainerState state_;
  std::int64_t stored_steps_ = 0;  // of the run that is resumed
  bool text_given_ = true;         // of a run that is resumed: with --data
  bool plan_ = false;
};

}  // namespace mixgrad::app
