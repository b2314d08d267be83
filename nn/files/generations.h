// The generations of a run: complete states of it, side by side in its folder DIR.
//   DIR/step-N/       the state after N steps (what is in it: nn/training/checkpoint.h)
//   DIR/latest        -> step-N, the one that was written last
//   DIR/best          -> step-N, that of the lowest validation loss so far
//   DIR/.step-N.tmp/  one that is being written or removed; what a crash left of it is swept at the next start
// A generation appears in one rename when it is whole and durable, then `latest` is swapped in another: a reader
// finds the old one or the new one, never a part, whatever happens in between.
//
// A run that is resumed from a generation that is not the newest begins another course: its trainer.json
// (lineage.course) has a larger number than all generations there were. Of several courses the newest generation is
// that of the highest course, and within it of the highest step, so that those of a course that was left are never
// taken for the newest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mixgrad {

std::string generation_name(std::int64_t step);                           // "step-120"
std::optional<std::int64_t> generation_step(const std::string& name);     // 120 of exactly such a name
std::vector<std::int64_t> generations(const std::filesystem::path& run);  // steps, ascending
bool holds_run(const std::filesystem::path& run);                         // is there a generation in this folder?

struct GenerationId {
  std::int64_t course = 0;  // how often the run was resumed from a generation that was not the newest
  std::int64_t step = 0;
  friend bool operator==(const GenerationId&, const GenerationId&) = default;
  // The newest is the greatest.
  friend bool operator<(const GenerationId& a, const GenerationId& b) {
    return std::pair(a.course, a.step) < std::pair(b.course, b.step);
  }
};

// By course and step, without `latest`; nothing in a folder without generations.
std::optional<GenerationId> newest_generation(const std::filesystem::path& run);

// The generation that `path` means, as a canonical path: itself, or of a run's folder the newest. A path is a thing,
// not a text: a trailing slash, ".", a link and a bare name mean what the system takes them for. The newest of a run is
// named by `latest`, which may be a link to step-N, a folder (a copy that followed the link) or a text file with the
// name step-N; where it is absent, names nothing that exists, or points out of a folder that has generations (a copy
// that kept an absolute link), it is newest_generation(). DIR/latest and DIR/best may be given in each of these forms;
// a `best` that points out of such a folder means the generation of that step in it. IoError when there is none.
std::filesystem::path find_generation(const std::filesystem::path& path);

// The same of DIR/latest and DIR/best alone, and nothing for any other path or where they name none: for readers of
// files that may also be given a run.
std::optional<std::filesystem::path> generation_named_by_link(const std::filesystem::path& path);

// The folder of the run in which a generation lies: its parent, if the generation is named step-N, latest or best.
// Nothing for any other folder with a checkpoint in it.
std::optional<std::filesystem::path> run_of(const std::filesystem::path& generation);

// Lets `fill` write into a scratch folder and makes that DIR/step-N and `latest`. What `fill` wrote must be durable.
// After an error, also one that `fill` throws, all that was there stands and the scratch folder is gone.
void install_generation(const std::filesystem::path& run, std::int64_t step,
                        const std::function<void(const std::filesystem::path& scratch)>& fill);

// Points DIR/best to that generation, if it is there; else `best` goes, unless it is a folder.
void point_best(const std::filesystem::path& run, std::optional<std::int64_t> step);

// Removes the generations up to `step` but for `step` itself and those to keep: the one that it continues, and the
// best. Those beyond `step` are of a course that was left and stay until this one has passed them.
void prune_generations(const std::filesystem::path& run, std::int64_t step,
                       const std::vector<std::optional<std::int64_t>>& keep);

// Removes what a crash left half-written. For the one process that holds the run's lock.
void sweep_leftovers(const std::filesystem::path& run);

}  // namespace mixgrad
