// Where a run of `mixgrad train` begins or is resumed: its folder, model, data and teacher, and what is refused of them
// before anything is written.
#include <cstdio>

#include "apps/data/run_text.h"
#include "apps/data/standard_input_data.h"
#include "apps/output/error_line.h"
#include "apps/verbs/train/train.h"
#include "core/error.h"
#include "core/text/plural.h"
#include "nn/tokenizers/tokenizer_types.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;

}  // namespace

void Train::refuse_for_ranks(int processes) const {
  if (training_.batch < processes) {
    raise<ValueError>("train: --batch is that of all processes together and must be at least their number, ", processes,
                      "; got ", training_.batch, "; give a larger --batch, or start fewer processes");
  }
  refuse_standard_input("train", model_.data, processes);
}

void Train::refuse_packed_heads(bool resets_state) const {
  if (!matches_heads() || !resets_state) return;
  raise<ValueError>("--reset-state cannot be given with --distill-stage heads, which would learn from the padding ",
                    "behind short documents; leave it out");
}

void Train::choose_folder() {
  if (resumed() && out_.empty()) {
    const std::optional<fs::path> folder = run_of(generation_);
    if (!folder) {
      raise<ValueError>("--resume ", resume_,
                        ": this generation is not inside the folder of a run; give a folder with --out DIR");
    }
    out_ = folder->string();
  }
  if (out_.empty()) raise<ValueError>("train: --out DIR is required: the folder for checkpoints and metrics");
  run_.out = out_;
  std::error_code error;
  if (resumed() && fs::equivalent(run_.out, generation_.parent_path(), error)) return;
  if (holds_run(run_.out)) {
    raise<ValueError>("--out ", out_, ": holds a run already; choose another folder, or resume that run with --resume ",
                      out_, " (nothing was changed)");
  }
  if (fs::file_size(run_.out / "metrics.jsonl", error) > 0 && !error) {
    raise<ValueError>("--out ", out_,
                      ": holds metrics.jsonl of a run that saved nothing yet; choose another folder or ",
                      "remove that file (nothing was changed)");
  }
}

Train::Opened Train::open() {
  if (!model_.task.empty()) return open_task();
  OpenedRun text = open_text();
  if (sampling_ == "shuffle") text.data.set_sampling(Sampling::shuffle);
  return {std::move(text.model), RunData(std::move(text.data))};
}

Train::Opened Train::open_task() const {
  OpenedTaskRun run = open_task_run(model_, what_to_open());
  const TextId id = run.batches.id();
  if (resumed() && id != TextId{state_.text_bytes, state_.text_xxh3}) {
    raise<FormatError>(resume_, ": the run was trained on other sequences of ", model_.task,
                       " than this version generates; start a new run from its weights with --checkpoint");
  }
  return {std::move(run.model), RunData(std::move(run.batches), state_.rng_seed)};
}

OpenedRun Train::open_text() {
  const auto open_it = [&] { return open_run(model_, what_to_open()); };
  if (resumed()) return open_again(open_it);
  if (checkpoint_.empty() || !model_.data.empty()) return open_it();
  const RunText own = text_of_run("train", checkpoint_);
  own.apply(model_);
  store_data();
  if (model_.unknown.empty() && !own.unknown.empty()) state_.options["unknown"] = model_.unknown = own.unknown;
  OpenedRun opened = with_run_text(own, open_it);
  require_run_text(own, opened.data);
  say("the text is the one that " + checkpoint_ + " was trained on, " + opened.data.source());
  return opened;
}

OpenedRun Train::open_again(const std::function<OpenedRun()>& open_it) const {
  const RunText own = text_of_run(resume_, state_);
  try {
    OpenedRun opened = text_given_ ? open_it() : with_run_text(own, open_it);
    require_run_text(own, opened.data);
    return opened;
  } catch (const IoError&) {
    throw;
  } catch (const Error&) {  // that it is another text says more than what is wrong with it
    if (text_given_) require_same_text(own, model_.data);
    throw;
  }
}

OpenRunOptions Train::what_to_open() const {
  return {.weights = resumed() ? generation_ : fs::path(checkpoint_),
          .placement = training_.model_placement(),
          .seed = training_.seed,
          .identify = Identify::yes};
}

std::unique_ptr<Objective> Train::open_objective(Decoder& model, const RunData& data) {
  if (!distill_.any()) return nullptr;
  const Teacher teacher = load_teacher(distill_.teacher, training_.model_placement());
  const DistillOptions options = distill_.values();
  refuse_packed_heads(data.batches().document_start().has_value());  // as the run of --checkpoint read its data
  check_teacher(teacher, model, data.tokenizer(), options.stage);
  if (state_.teacher && state_.teacher->xxh3 != teacher.xxh3) {
    raise<ValueError>("--distill ", teacher.folder.string(), ": the run was begun with a teacher whose ",
                      "model.safetensors has the XXH3 ", state_.teacher->xxh3, ", that of ", state_.teacher->path,
                      "; here it is ", teacher.xxh3, "; give that teacher with --distill DIR");
  }
  state_.teacher = {teacher.folder.string(), teacher.xxh3};
  state_.options["distill"] = teacher.folder.string();
  if (options.stage == DistillStage::heads) freeze_kept_parameters(teacher.model->config(), model);
  std::fprintf(stderr, "teacher: %s, %s; loss is %s\n", teacher.folder.c_str(),
               count_text(teacher.model->parameters().count(), "parameter").c_str(),
               options.stage == DistillStage::heads ? "the share of the replaced heads' outputs that is missed"
                                                    : "that of the data and the divergence from the teacher, mixed");
  if (model.device().is_cuda()) say("with a teacher each step is driven by the host, not replayed as a CUDA graph");
  return make_distillation(teacher.model, model, options);
}

void Train::check_text(const TokenData& text, std::int64_t context) const {
  if (validates()) {
    const EvalWindows windows(text, text.valid(), context);
  }
  run_.sample.start(text.tokenizer());
  if (const std::string note = unknown_note(text, parse_unknown(model_.unknown)); !note.empty()) say(note);
}

bool Train::begin_course() {
  std::string left;
  for (const std::int64_t step : generations(run_.out)) {
    if (step > state_.step) left += (left.empty() ? "" : ", ") + generation_name(step);
  }
  const std::optional<GenerationId> newest = newest_generation(run_.out);
  if (!newest || *newest == GenerationId{state_.course, state_.step}) return false;
  state_.course = newest->course + 1;
  if (!left.empty()) say("each later generation is kept until the resumed run has passed its step: " + left);
  return true;
}

}  // namespace mixgrad::app
