// Recomputation: a part of a model whose intermediates are not kept for the backward pass, but computed again in it.
//
//   const RecomputeScope scope(Intermediates::recomputed);         // while the forward pass is recorded
//   if (recomputing()) {
//     auto [y, z] = recomputed({x, {}, {}}, [layer](const RecomputeInputs& in) { return layer->forward(in[0]); });
//   }
//
// Forward runs the block without recording it, and records one entry that saves the inputs alone. When backward comes
// to the entry, it records the block anew at the end of the same tape, gives the outputs' gradients to it, and runs
// these entries backwards before it goes on. They lead to the same gradient slots in the same order as without
// recomputation, so the gradients have the same bits. A block must compute the same values each time it is run: dropout
// does, whose masks are functions of counters.
#pragma once

#include <array>
#include <cstring>
#include <type_traits>

#include "autograd/tape.h"

namespace mixgrad {

enum class Intermediates : std::uint8_t { kept, recomputed };

// What models do in this thread with the intermediates of their blocks, until the scope ends. Scopes nest.
class RecomputeScope {
 public:
  explicit RecomputeScope(Intermediates intermediates);
  ~RecomputeScope();
  RecomputeScope(const RecomputeScope&) = delete;
  RecomputeScope& operator=(const RecomputeScope&) = delete;

 private:
  Intermediates outer_;
};

// In such a scope, under a tape.
bool recomputing();

using RecomputeInputs = std::array<Tensor, 3>;   // some may be undefined
using RecomputeOutputs = std::array<Tensor, 2>;  // both are defined

// The entry of a recomputed block, and how its block is run again.
extern const OpSpec recomputed_spec;
struct RecomputedBlock {
  static constexpr std::size_t kBytes = Tape::kAttributeBytes - 8;  // a pointer has at most 8 bytes

  RecomputeOutputs (*run)(const std::byte* block, const RecomputeInputs& inputs);
  alignas(8) std::array<std::byte, kBytes> block;
};
RecomputeOutputs run_recomputed(const RecomputedBlock& block, const RecomputeInputs& inputs);

// The outputs of block(inputs), tracked. `block` is a function object of plain values (pointers, numbers) that outlives
// the backward pass. Its inputs or the parameters that it reads are tracked by the current tape.
template <class Block>
RecomputeOutputs recomputed(const RecomputeInputs& inputs, const Block& block) {
  static_assert(std::is_trivially_copyable_v<Block> && sizeof(Block) <= RecomputedBlock::kBytes && alignof(Block) <= 8);
  RecomputedBlock kept{};
  kept.run = [](const std::byte* bytes, const RecomputeInputs& given) {
    return (*reinterpret_cast<const Block*>(bytes))(given);
  };
  std::memcpy(kept.block.data(), &block, sizeof block);
  return run_recomputed(kept, inputs);
}

}  // namespace mixgrad
