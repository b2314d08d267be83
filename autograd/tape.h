// The tape: records operators while it is in scope, then runs their gradients backwards, once.
//
//   Tape tape;                             // from here on, operators on tracked tensors record themselves
//   tape.watch(w);                         // w becomes leaf 0
//   Tensor loss = ...;                     // define by run: the order of execution is the order of the tape
//   Gradients g = std::move(tape).backward(loss);   // consumes the tape
//   g.of(0);                               // d loss / d w
//
// No scope, nothing recorded. The tape is flat: no graph of nodes, no recursion. An entry points to a constant OpSpec
// and lists what it saved, so that a tape can be listed, counted, freed and printed.
//
// Gradient slots. Every tracked tensor has one. The first gradient to arrive is *written* into it, later ones are
// *added*; the tape says which, so no pass fills zeros. A slot of a packed tensor is filled through column views
// (q, k and v of a packed qkv): it remembers which columns have been written. The other way round, several operators
// may fill the columns of one tensor (output_columns): each then reads its gradient there, in place.
#pragma once

#include <array>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "autograd/gradients.h"
#include "autograd/op_spec.h"
#include "autograd/tape_observer.h"
#include "core/tensor.h"

namespace mixgrad {

// Where an operator's backward puts the gradient of one input.
struct GradTarget {
  Tensor tensor;     // shape of the input; a row view when the input was one
  bool add = false;  // false: write every element, reading none. true: add to what is there

  template <class F>
  void each_tensor(const F& visit) {  // for --device check (core/dispatch/device_check.h)
    visit(tensor);
  }
};

struct TapeEntryReport {
  std::string op;
  std::vector<Shape> outputs;
  std::vector<Shape> saved;
  std::size_t saved_bytes = 0;
};

class Tape {
 public:
  static constexpr std::size_t kAttributeBytes = 80;

  struct Seed {
    Tensor output;
    Tensor cotangent;  // d loss / d output, same shape and dtype
  };

  Tape();  // becomes the current tape of this thread; tapes nest
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  // Makes `leaf` the next leaf (0, 1, ...). Its gradient has the accumulation type: f64 for f64, else f32.
  void watch(Tensor& leaf);
  // Makes `leaf` the leaf of this index; for sets of which only some are watched (frozen parameters).
  void watch(Tensor& leaf, std::size_t index);

  // Gradients of the leaves of d loss, times `scale`. GradError when the loss is not a tracked one-element tensor.
  [[nodiscard]] Gradients backward(const Tensor& loss) &&;
  // Into gradients that exist already, in leaf order: written where none has arrived since clear(), added elsewhere.
  void backward(const Tensor& loss, Gradients& into, double scale = 1.0) &&;
  void backward(std::span<const Seed> seeds, Gradients& into) &&;

  std::size_t entries() const { return memory_.entries.size(); }
  std::vector<TapeEntryReport> report() const;
  std::vector<Shape> leaf_shapes() const;

  static Tape* current();

 private:
  friend class BackwardContext;
  friend bool tracked(const Tensor& tensor);
  friend Tensor columns(const Tensor& x, std::int64_t begin, std::int64_t end);
  friend Tensor output_columns(Tensor& whole, std::int64_t begin, std::int64_t end);
  friend void record_entry(const OpSpec& spec, std::span<const Tensor* const> inputs, std::span<Tensor* const> outputs,
                           std::span<const Tensor* const> saved, const void* attributes, std::size_t attribute_bytes);

  struct ColumnRange {
    std::int64_t begin = 0, end = 0;
  };
  static constexpr int kMaxWrittenRanges = 6;  // scattered further, the gaps are filled with zeros
  struct Slot {
    Shape shape;
    DType dtype = DType::f32;  // of the gradient
    DType value = DType::f32;  // of the tensor: a bf16 leaf has an f32 gradient
    Device device;             // of both
    std::int32_t parent = -1;  // a column view: the slot that owns the memory
    std::int64_t column = 0;   // and where the view starts in it
    std::int32_t leaf = -1;    // index in the Gradients
    std::int32_t writers = 0;  // entries whose output is a column view of it and that are still to run
    bool shared = false;       // the memory is another slot's too: copy before adding
    Tensor gradient;           // undefined until the first arrival
    int written_count = 0;     // columns written so far, ascending and disjoint
    std::array<ColumnRange, kMaxWrittenRanges> written{};
  };
  struct Entry {
    const OpSpec* spec = nullptr;
    std::array<std::int32_t, kMaxOpInputs> inputs{};
    std::array<std::int32_t, kMaxOpOutputs> outputs{};
    std::int32_t saved_begin = 0;
    std::int32_t saved_count = 0;
    Context context{};  // of the forward pass; backward computes under the same
    alignas(8) std::array<std::byte, kAttributeBytes> attributes{};
  };
  struct Memory {  // kept between tapes, so that a training step allocates nothing
    std::vector<Entry> entries;
    std::vector<Slot> slots;
    std::vector<Tensor> saved;
    std::vector<std::int32_t> leaves;  // slots
    void clear();
  };
  static Memory& spare_memory();

  std::int32_t new_slot(const Shape& shape, DType dtype, Device device);
  TapeEvent event_of(const Entry& entry, std::size_t index) const;
  void tell_outputs(const Entry& entry, std::span<Tensor* const> outputs) const;
  void tell_gradients(const Entry& entry, std::size_t index);
  GradTarget target(std::int32_t slot, const Shape& shape);
  void share(std::int32_t slot, const Tensor& gradient);
  Tensor finished(std::int32_t slot);
  void release(std::int32_t slot);
  void prepare_memory(Slot& slot);
  void cover(Slot& slot, std::int64_t begin, std::int64_t end, bool& add);
  void zero_uncovered(Slot& slot, std::int64_t begin, std::int64_t end);
  void run(Gradients& into);

  Memory memory_;
  Gradients* into_ = nullptr;
  Tape* previous_ = nullptr;
  std::uint32_t serial_ = 0;
  bool consumed_ = false;
};

// What an operator's backward sees.
class BackwardContext {
 public:
  const Tensor& saved(int i) const;
  template <class A>
  const A& attributes() const {
    return *reinterpret_cast<const A*>(entry_.attributes.data());
  }
  // Gradient of output k; undefined when nothing downstream used it. At least one output's gradient is defined.
  const Tensor& output_gradient(int k = 0) const { return output_gradients_[static_cast<std::size_t>(k)]; }
  bool wants(int input) const { return entry_.inputs[static_cast<std::size_t>(input)] >= 0; }
  // Memory for the gradient of an input, to be asked for once and filled as its `add` says; an undefined target when
  // the gradient of this input is not wanted. Its dtype is that of the input, and for a parameter (by its role in the
  // spec) the accumulation dtype of the input. Where the slot has another dtype, or an earlier target of this entry
  // overlaps (one tensor given twice), it is fresh memory, which the tape adds afterwards.
  GradTarget gradient(int input, const Shape& shape);
  // The gradient of this input is exactly this tensor: hands it on without a copy where nothing has arrived yet.
  void pass(int input, const Tensor& gradient);

 private:
  friend class Tape;
  BackwardContext(Tape& tape, Tape::Entry& entry) : tape_(tape), entry_(entry) {}

  struct InPlaceColumns {  // columns of a slot that this entry writes in place
    std::int32_t owner;
    Tape::ColumnRange columns;
  };
  struct PendingGradient {  // to be added to the slot when the entry is done
    std::int32_t slot;
    Tensor gradient;
  };
  Tape& tape_;
  Tape::Entry& entry_;
  std::array<Tensor, kMaxOpOutputs> output_gradients_;
  std::array<InPlaceColumns, kMaxOpInputs> in_place_{};
  std::array<PendingGradient, kMaxOpInputs> pending_{};
  int in_place_count_ = 0;
  int pending_count_ = 0;
};

// Is there a current tape, and does it track this tensor? GradError for a severed view (core/tensor.h).
bool tracked(const Tensor& tensor);

// The columns [begin, end) of the last axis as a row view. Of a tracked tensor the view is tracked, and its gradient is
// put in place into the gradient of x.
Tensor columns(const Tensor& x, std::int64_t begin, std::int64_t end);

// The columns [begin, end) of `whole` as the output that an operator has filled and is about to record; `whole` becomes
// tracked with the first of them. No column may be filled twice, and `whole` is read when all of it is there.
Tensor output_columns(Tensor& whole, std::int64_t begin, std::int64_t end);

void record_entry(const OpSpec& spec, std::span<const Tensor* const> inputs, std::span<Tensor* const> outputs,
                  std::span<const Tensor* const> saved, const void* attributes, std::size_t attribute_bytes);

struct NoAttributes {};

// To be called by an operator after its forward, when any input is tracked: makes the outputs tracked. Null or
// undefined inputs are optional ones that were not given. `attributes` is a plain struct of at most 80 bytes that the
// backward reads by context.attributes<A>(). GradError when a tracked input has no gradient, ValueError when the spec
// is not complete.
template <class A = NoAttributes>
void record(const OpSpec& spec, std::initializer_list<const Tensor*> inputs, std::initializer_list<Tensor*> outputs,
            std::initializer_list<const Tensor*> saved, const A& attributes = {}) {
  static_assert(std::is_trivially_copyable_v<A> && sizeof(A) <= Tape::kAttributeBytes && alignof(A) <= 8);
  record_entry(spec, {inputs.begin(), inputs.size()}, {outputs.begin(), outputs.size()}, {saved.begin(), saved.size()},
               &attributes, sizeof(A));
}

// any_tracked({&x, &w}): should this call save and record?
bool any_tracked(std::initializer_list<const Tensor*> inputs);

}  // namespace mixgrad
