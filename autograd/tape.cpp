#include "autograd/tape.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "core/error.h"

namespace mixgrad {
namespace {

thread_local Tape* t_current = nullptr;

// Numbers the tapes of all threads, so that no tensor of one thread's tape counts as tracked by another thread's.
std::atomic<std::uint32_t> g_tapes = 0;

}  // namespace

void Tape::Memory::clear() {
  entries.clear();
  slots.clear();
  saved.clear();
  leaves.clear();
}

Tape::Memory& Tape::spare_memory() {
  thread_local Memory spare;
  return spare;
}

TapeObserver*& TapeObserver::newest() {
  thread_local TapeObserver* observer = nullptr;
  return observer;
}

TapeObserver::TapeObserver() : older_(newest()) { newest() = this; }
TapeObserver::~TapeObserver() {
  MIXGRAD_ASSERT(newest() == this, "observers end in the reverse order of their beginning");
  newest() = older_;
}

Tape::Tape() : previous_(t_current), serial_(++g_tapes) {
  std::swap(memory_, spare_memory());
  t_current = this;
}

Tape::~Tape() {
  if (t_current == this) t_current = previous_;
  memory_.clear();
  std::swap(memory_, spare_memory());
}

Tape* Tape::current() { return t_current; }

std::int32_t Tape::new_slot(const Shape& shape, DType dtype, Device device) {
  Slot slot;
  slot.shape = shape;
  slot.dtype = dtype;
  slot.value = dtype;
  slot.device = device;
  memory_.slots.push_back(std::move(slot));
  return static_cast<std::int32_t>(memory_.slots.size()) - 1;
}

void Tape::watch(Tensor& leaf) { watch(leaf, memory_.leaves.size()); }

void Tape::watch(Tensor& leaf, std::size_t index) {
  if (!is_float(leaf.dtype())) {
    raise<GradError>("watch: only float tensors have gradients, got ", dtype_name(leaf.dtype()), " ", leaf.shape());
  }
  if (!leaf.is_contiguous()) raise<GradError>("watch: a leaf must be contiguous, got a row view ", leaf.shape());
  const std::int32_t slot = new_slot(leaf.shape(), accumulation_dtype(leaf.dtype()), leaf.device());
  memory_.slots.back().value = leaf.dtype();
  memory_.slots.back().leaf = static_cast<std::int32_t>(index);
  memory_.leaves.push_back(slot);
  leaf.set_track({serial_, slot});
}

bool tracked(const Tensor& tensor) {
  const Tape* tape = t_current;
  if (tape == nullptr || tape->consumed_ || !tensor.defined() || tensor.track().tape != tape->serial_) return false;
  if (tensor.track().slot == Track::kSevered) {
    raise<GradError>("record: ", tensor.shape(),
                     " is an untracked view or copy of a tracked tensor, so its gradient would be lost; "
                     "use columns() for a tracked view, or detach() to stop the gradient on purpose");
  }
  return tensor.track().slot >= 0;
}

bool any_tracked(std::initializer_list<const Tensor*> inputs) {
  return std::any_of(inputs.begin(), inputs.end(), [](const Tensor* t) { return t != nullptr && tracked(*t); });
}

Tensor output_columns(Tensor& whole, std::int64_t begin, std::int64_t end) {
  if (!tracked(whole)) {
    MIXGRAD_ASSERT(t_current != nullptr, "a tape that records");
    whole.set_track({t_current->serial_, t_current->new_slot(whole.shape(), whole.dtype(), whole.device())});
  }
  return columns(whole, begin, end);
}

Tensor columns(const Tensor& x, std::int64_t begin, std::int64_t end) {
  Tensor view = x.detach().column_view(begin, end);
  if (!tracked(x)) return view;
  Tape& tape = *t_current;
  const std::int32_t slot = tape.new_slot(view.shape(), x.dtype(), x.device());
  const Tape::Slot& from = tape.memory_.slots[static_cast<std::size_t>(x.track().slot)];
  Tape::Slot& to = tape.memory_.slots.back();
  to.parent = from.parent >= 0 ? from.parent : x.track().slot;
  to.column = from.column + begin;
  to.dtype = from.dtype;
  to.value = x.dtype();
  view.set_track({tape.serial_, slot});
  return view;
}

void record_entry(const OpSpec& spec, std::span<const Tensor* const> inputs, std::span<Tensor* const> outputs,
                  std::span<const Tensor* const> saved, const void* attributes, std::size_t attribute_bytes) {
  require_complete(spec);
  MIXGRAD_ASSERT(static_cast<int>(inputs.size()) == spec.inputs, spec.name);
  MIXGRAD_ASSERT(static_cast<int>(outputs.size()) == spec.outputs, spec.name);
  Tape& tape = *t_current;
  Tape::Entry entry;
  entry.spec = &spec;
  entry.context = context();
  entry.inputs.fill(-1);
  entry.outputs.fill(-1);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == nullptr || !tracked(*inputs[i])) continue;
    if (!spec.differentiable.contains(static_cast<int>(i))) {
      raise<GradError>(spec.name, ": input ", i, " ", inputs[i]->shape(),
                       " is tracked, but this operator has no gradient for it; detach() it on purpose");
    }
    entry.inputs[i] = inputs[i]->track().slot;
  }
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    if (tracked(*outputs[k])) {  // of output_columns
      entry.outputs[k] = outputs[k]->track().slot;
      const std::int32_t whole = tape.memory_.slots[static_cast<std::size_t>(entry.outputs[k])].parent;
      MIXGRAD_ASSERT(whole >= 0, spec.name);
      ++tape.memory_.slots[static_cast<std::size_t>(whole)].writers;
      continue;
    }
    entry.outputs[k] = tape.new_slot(outputs[k]->shape(), outputs[k]->dtype(), outputs[k]->device());
    outputs[k]->set_track({tape.serial_, entry.outputs[k]});
  }
  entry.saved_begin = static_cast<std::int32_t>(tape.memory_.saved.size());
  entry.saved_count = static_cast<std::int32_t>(saved.size());
  for (const Tensor* tensor : saved) tape.memory_.saved.push_back(tensor == nullptr ? Tensor() : tensor->detach());
  std::memcpy(entry.attributes.data(), attributes, attribute_bytes);
  tape.memory_.entries.push_back(entry);
  tape.tell_outputs(entry, outputs);
}

TapeEvent Tape::event_of(const Entry& entry, std::size_t index) const {
  TapeEvent event;
  event.spec = entry.spec;
  event.entry = index;
  event.leaves.fill(-1);
  for (int i = 0; i < entry.spec->inputs; ++i) {
    const auto input = static_cast<std::size_t>(i);
    if (entry.inputs[input] < 0) continue;
    const Slot& slot = memory_.slots[static_cast<std::size_t>(entry.inputs[input])];
    event.leaves[input] = slot.parent >= 0 ? memory_.slots[static_cast<std::size_t>(slot.parent)].leaf : slot.leaf;
  }
  return event;
}

void Tape::tell_outputs(const Entry& entry, std::span<Tensor* const> outputs) const {
  if (TapeObserver::newest() == nullptr) return;
  const TapeEvent event = event_of(entry, memory_.entries.size() - 1);
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    const Tensor value = outputs[k]->detach();
    TapeObserver::tell(TapeObserver::newest(),
                       [&](TapeObserver& observer) { observer.output(event, static_cast<int>(k), value); });
  }
}

std::vector<Shape> Tape::leaf_shapes() const {
  std::vector<Shape> shapes;
  for (const std::int32_t slot : memory_.leaves) shapes.push_back(memory_.slots[static_cast<std::size_t>(slot)].shape);
  return shapes;
}

std::vector<TapeEntryReport> Tape::report() const {
  std::vector<TapeEntryReport> rows;
  for (const Entry& entry : memory_.entries) {
    TapeEntryReport row;
    row.op = entry.spec->name;
    for (int k = 0; k < entry.spec->outputs; ++k) {
      const std::int32_t slot = entry.outputs[static_cast<std::size_t>(k)];
      row.outputs.push_back(memory_.slots[static_cast<std::size_t>(slot)].shape);
    }
    for (std::int32_t i = 0; i < entry.saved_count; ++i) {
      const Tensor& saved = memory_.saved[static_cast<std::size_t>(entry.saved_begin + i)];
      if (!saved.defined()) continue;
      row.saved.push_back(saved.shape());
      row.saved_bytes += saved.bytes();
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace mixgrad
