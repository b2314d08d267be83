// The second half of Tape: gradient slots and the backward pass.
#include <algorithm>

#include "autograd/recompute.h"
#include "autograd/tape.h"
#include "core/dispatch/accumulate.h"
#include "core/error.h"

namespace mixgrad {
namespace {

void zero_columns(const Tensor& tensor, std::int64_t begin, std::int64_t end) {
  if (begin < end) tensor.column_view(begin, end).zero();
}

}  // namespace

void Tape::prepare_memory(Slot& slot) {
  if (slot.gradient.defined()) return;
  if (slot.leaf >= 0) {
    const auto leaf = static_cast<std::size_t>(slot.leaf);
    slot.gradient = into_->views_[leaf];
    if (into_->arrived_[leaf] != 0) {
      slot.written[0] = {0, slot.shape.cols()};
      slot.written_count = 1;
    }
    into_->arrived_[leaf] = 1;
  } else {
    slot.gradient = Tensor::empty(slot.shape, slot.dtype, slot.device);
  }
}

void Tape::zero_uncovered(Slot& slot, std::int64_t begin, std::int64_t end) {
  std::int64_t at = begin;
  for (int i = 0; i < slot.written_count; ++i) {
    const auto& [from, to] = slot.written[static_cast<std::size_t>(i)];
    if (to <= at) continue;
    if (from >= end) break;
    zero_columns(slot.gradient, at, std::min(from, end));
    at = std::max(at, to);
  }
  zero_columns(slot.gradient, at, end);
}

// Marks columns [begin,end) as written. add: some of them were before; those that were not are zeroed then.
void Tape::cover(Slot& slot, std::int64_t begin, std::int64_t end, bool& add) {
  add = false;
  for (int i = 0; i < slot.written_count; ++i) {
    const auto& [from, to] = slot.written[static_cast<std::size_t>(i)];
    if (from < end && begin < to) add = true;
  }
  if (add) zero_uncovered(slot, begin, end);
  // Insert the range and merge its neighbours.
  int kept = 0;
  ColumnRange merged{begin, end};
  std::array<ColumnRange, kMaxWrittenRanges> next{};
  for (int i = 0; i < slot.written_count; ++i) {
    const ColumnRange range = slot.written[static_cast<std::size_t>(i)];
    if (range.end < merged.begin || range.begin > merged.end) {
      next[static_cast<std::size_t>(kept++)] = range;
    } else {
      merged = {std::min(merged.begin, range.begin), std::max(merged.end, range.end)};
    }
  }
  if (kept == kMaxWrittenRanges) {  // too many scattered views: fill all gaps, then everything adds
    zero_uncovered(slot, 0, begin);
    zero_uncovered(slot, end, slot.shape.cols());
    kept = 0;
    merged = {0, slot.shape.cols()};
  }
  int at = kept;
  for (; at > 0 && next[static_cast<std::size_t>(at - 1)].begin > merged.begin; --at) {
    next[static_cast<std::size_t>(at)] = next[static_cast<std::size_t>(at - 1)];
  }
  next[static_cast<std::size_t>(at)] = merged;
  slot.written = next;
  slot.written_count = kept + 1;
}

GradTarget Tape::target(std::int32_t index, const Shape& shape) {
  const Slot& asked = memory_.slots[static_cast<std::size_t>(index)];
  const std::int64_t begin = asked.parent >= 0 ? asked.column : 0;
  const std::int64_t width = asked.shape.cols();
  Slot& owner = memory_.slots[static_cast<std::size_t>(asked.parent >= 0 ? asked.parent : index)];
  if (owner.shared) {
    owner.gradient = owner.gradient.clone();
    owner.shared = false;
  }
  prepare_memory(owner);
  GradTarget target;
  cover(owner, begin, begin + width, target.add);
  target.tensor = asked.parent >= 0 ? owner.gradient.column_view(begin, begin + width) : owner.gradient;
  target.tensor = target.tensor.reshape(shape);
  return target;
}

void Tape::share(std::int32_t index, const Tensor& gradient) {
  Slot& slot = memory_.slots[static_cast<std::size_t>(index)];
  const bool can_share = slot.parent < 0 && slot.leaf < 0 && !slot.gradient.defined() && gradient.is_contiguous() &&
                         gradient.dtype() == slot.dtype;
  if (can_share) {
    slot.gradient = gradient.detach().reshape(slot.shape);
    slot.shared = true;
    slot.written[0] = {0, slot.shape.cols()};
    slot.written_count = 1;
    return;
  }
  const GradTarget to = target(index, gradient.shape());
  if (to.add) {
    accumulate(to.tensor, gradient);
  } else {
    to.tensor.copy_from(gradient);
  }
}

// The gradient of a slot that nothing will write to any more; undefined when none arrived.
Tensor Tape::finished(std::int32_t index) {
  const Slot& asked = memory_.slots[static_cast<std::size_t>(index)];
  Slot& owner = memory_.slots[static_cast<std::size_t>(asked.parent >= 0 ? asked.parent : index)];
  if (!owner.gradient.defined()) return {};
  const std::int64_t end = asked.column + asked.shape.cols();
  zero_uncovered(owner, asked.column, end);
  return asked.parent >= 0 ? owner.gradient.column_view(asked.column, end) : owner.gradient;
}

// Of an output whose entry has run. A tensor of several outputs lives until the last of them.
void Tape::release(std::int32_t index) {
  Slot& slot = memory_.slots[static_cast<std::size_t>(index)];
  if (slot.parent < 0) {
    slot.gradient = Tensor();
    return;
  }
  Slot& owner = memory_.slots[static_cast<std::size_t>(slot.parent)];
  if (--owner.writers == 0) owner.gradient = Tensor();
}

const Tensor& BackwardContext::saved(int i) const {
  MIXGRAD_ASSERT(i < entry_.saved_count, entry_.spec->name);
  return tape_.memory_.saved[static_cast<std::size_t>(entry_.saved_begin + i)];
}

GradTarget BackwardContext::gradient(int input, const Shape& shape) {
  if (!wants(input)) return {};
  const std::int32_t index = entry_.inputs[static_cast<std::size_t>(input)];
  const Tape::Slot& slot = tape_.memory_.slots[static_cast<std::size_t>(index)];
  const DType dtype = is_parameter(entry_.spec->roles[input]) ? accumulation_dtype(slot.value) : slot.value;
  const bool view = slot.parent >= 0;
  const std::int64_t begin = view ? slot.column : 0;
  const InPlaceColumns asked{view ? slot.parent : index, {begin, begin + slot.shape.cols()}};
  bool in_place = slot.dtype == dtype;
  for (int i = 0; i < in_place_count_; ++i) {
    const auto& [owner, columns] = in_place_[static_cast<std::size_t>(i)];
    const bool overlaps = columns.begin < asked.columns.end && asked.columns.begin < columns.end;
    if (owner == asked.owner && overlaps) in_place = false;
  }
  if (in_place) {
    in_place_[static_cast<std::size_t>(in_place_count_++)] = asked;
    return tape_.target(index, shape);
  }
  PendingGradient& pending = pending_[static_cast<std::size_t>(pending_count_++)];
  pending = {index, Tensor::empty(shape, dtype, slot.device)};
  return {pending.gradient, false};
}

void BackwardContext::pass(int input, const Tensor& gradient) {
  if (wants(input)) tape_.share(entry_.inputs[static_cast<std::size_t>(input)], gradient);
}

void Tape::tell_gradients(const Entry& entry, std::size_t index) {
  if (TapeObserver::newest() == nullptr) return;
  const TapeEvent event = event_of(entry, index);
  for (int i = 0; i < entry.spec->inputs; ++i) {
    const std::int32_t input = entry.inputs[static_cast<std::size_t>(i)];
    if (input < 0) continue;
    const Slot& slot = memory_.slots[static_cast<std::size_t>(input)];
    const Slot& owner = slot.parent >= 0 ? memory_.slots[static_cast<std::size_t>(slot.parent)] : slot;
    if (!owner.gradient.defined()) continue;
    const Tensor gradient =
        slot.parent >= 0 ? owner.gradient.column_view(slot.column, slot.column + slot.shape.cols()) : owner.gradient;
    TapeObserver::tell(TapeObserver::newest(), [&](TapeObserver& observer) { observer.gradient(event, i, gradient); });
  }
}

void Tape::run(Gradients& into) {
  // Records the block of an entry again, at the end of this tape. Its inputs lead to the slots of the entry's.
  const auto record_again = [this](const Entry& entry) {
    MIXGRAD_ASSERT(current() == this, "the tape whose backward runs, since its seeds are tracked");
    RecomputeInputs inputs;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      inputs[i] = std::move(memory_.saved[static_cast<std::size_t>(entry.saved_begin) + i]);
      if (entry.inputs[i] >= 0) inputs[i].set_track({serial_, entry.inputs[i]});
    }
    RecomputedBlock block;
    std::memcpy(&block, entry.attributes.data(), sizeof block);
    const struct Recording {
      bool& consumed;
      explicit Recording(bool& flag) : consumed(flag) { consumed = false; }
      ~Recording() { consumed = true; }
    } recording(consumed_);
    return block.run(block.block.data(), inputs);
  };
  // Runs the entries from the last down to `first`, and drops them.
  const auto run_down_to = [&](const auto& self, std::size_t first) -> void {
    while (memory_.entries.size() > first) {
      const std::size_t e = memory_.entries.size() - 1;
      Entry entry = memory_.entries[e];  // a copy: a recomputed block is recorded in its place
      memory_.entries.pop_back();
      BackwardContext context(*this, entry);
      bool any = false;
      for (int k = 0; k < entry.spec->outputs; ++k) {
        const auto index = static_cast<std::size_t>(k);
        context.output_gradients_[index] = finished(entry.outputs[index]);
        any = any || context.output_gradients_[index].defined();
      }
      const bool block = entry.spec == &recomputed_spec;
      if (any && block) {
        const std::size_t slots = memory_.slots.size();
        {
          const ContextScope scope(entry.context);
          const RecomputeOutputs outputs = record_again(entry);
          for (int k = 0; k < entry.spec->outputs; ++k) {
            Tensor& gradient = context.output_gradients_[static_cast<std::size_t>(k)];
            const Track track = outputs[static_cast<std::size_t>(k)].track();
            if (gradient.defined() && track.tape == serial_ && track.slot >= 0) share(track.slot, gradient);
            gradient = Tensor();
            release(entry.outputs[static_cast<std::size_t>(k)]);
          }
        }
        self(self, e);
        memory_.slots.resize(slots);
      } else if (any) {
        const ContextScope scope(entry.context);
        entry.spec->backward(context);
      }
      for (int i = 0; i < context.pending_count_; ++i) {
        const BackwardContext::PendingGradient& pending = context.pending_[static_cast<std::size_t>(i)];
        share(pending.slot, pending.gradient);
      }
      if (any && !block) tell_gradients(entry, e);
      for (int k = 0; k < entry.spec->outputs; ++k) release(entry.outputs[static_cast<std::size_t>(k)]);
      memory_.saved.resize(static_cast<std::size_t>(entry.saved_begin));
    }
  };
  run_down_to(run_down_to, 0);
  for (const std::int32_t leaf : memory_.leaves) {
    const Slot& slot = memory_.slots[static_cast<std::size_t>(leaf)];
    if (into.arrived_[static_cast<std::size_t>(slot.leaf)] == 0 || !slot.gradient.defined()) continue;
    const bool whole =
        slot.written_count == 1 && slot.written[0].begin == 0 && slot.written[0].end == slot.shape.cols();
    const Tensor gradient = finished(leaf);
    if (whole || TapeObserver::newest() == nullptr) continue;
    TapeObserver::tell(TapeObserver::newest(),
                       [&](TapeObserver& observer) { observer.columns_zeroed(slot.leaf, gradient); });
  }
}

void Tape::backward(std::span<const Seed> seeds, Gradients& into) && {
  if (consumed_) raise<GradError>("backward: this tape has been run already; record a new one");
  for (const std::int32_t leaf : memory_.leaves) {
    const Slot& slot = memory_.slots[static_cast<std::size_t>(leaf)];
    const auto index = static_cast<std::size_t>(slot.leaf);
    if (index >= into.size()) {
      raise<GradError>("backward: the tape watches leaf ", index, ", the gradients hold ", into.size());
    }
    if (!(into.views_[index].shape() == slot.shape) || into.flat_.dtype() != slot.dtype) {
      raise<GradError>("backward: leaf ", index, " is ", dtype_name(slot.dtype), " ", slot.shape,
                       ", the gradients hold ", dtype_name(into.flat_.dtype()), " ", into.views_[index].shape());
    }
    if (!(into.flat_.device() == slot.device)) {
      raise<DeviceError>("backward: leaf ", index, " is on ", slot.device.str(), ", the gradients are on ",
                         into.flat_.device().str(), "; make them on the leaf's device");
    }
  }
  for (const Seed& seed : seeds) {  // all are checked before the first leaves a trace
    if (!tracked(seed.output)) {
      raise<GradError>("backward: ", seed.output.shape(), " does not depend on any watched tensor of this tape");
    }
    if (!(seed.cotangent.shape() == seed.output.shape()) || seed.cotangent.dtype() != seed.output.dtype()) {
      raise<ShapeError>("backward: the cotangent must be ", dtype_name(seed.output.dtype()), " ", seed.output.shape(),
                        ", got ", dtype_name(seed.cotangent.dtype()), " ", seed.cotangent.shape());
    }
    if (!(seed.cotangent.device() == seed.output.device())) {
      raise<DeviceError>("backward: the cotangent must be on ", seed.output.device().str(), " like the output, got ",
                         seed.cotangent.device().str(), "; copy it there first");
    }
  }
  into_ = &into;
  for (const Seed& seed : seeds) share(seed.output.track().slot, seed.cotangent);
  consumed_ = true;
  run(into);
  into_ = nullptr;
}

void Tape::backward(const Tensor& loss, Gradients& into, double scale) && {
  if (loss.numel() != 1) raise<GradError>("backward: the loss must have one element, got ", loss.shape());
  const Seed seed{loss, Tensor::full(loss.shape(), loss.dtype(), scale, loss.device())};
  std::move(*this).backward(std::span(&seed, 1), into);
}

Gradients Tape::backward(const Tensor& loss) && {
  const std::vector<Shape> shapes = leaf_shapes();
  Gradients gradients(shapes, accumulation_dtype(loss.dtype()), loss.device());
  std::move(*this).backward(loss, gradients);
  return gradients;
}

}  // namespace mixgrad
