// The laws of mixers, as functions that need no test framework: the project's tests run them for every built-in kind,
// and a program that adds a kind runs them for its own.
//   for (const std::string& failure : mixer_kind_failures(EmaConfig::kind())) std::puts(failure.c_str());
//
// Each law takes a subject and returns the empty text when the law holds, else where it is broken. Where it allows for
// rounding, the tolerance is f64 1e-12, f32 1e-5 (on CUDA 6e-5), bf16 3e-2 of the largest value.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nn/config/layer_kind.h"
#include "nn/mixers/mixer.h"
#include "nn/modules/parameter.h"

namespace mixgrad {

inline constexpr std::int64_t kLawWidth = 16;    // D of the mixers
inline constexpr std::int64_t kLawContext = 40;  // more than the longest sequence of most laws

// Normal numbers, drawn in f64 and rounded to the dtype. On the host.
Tensor law_numbers(const Shape& shape, DType dtype, std::uint64_t seed, double deviation = 1);

// Gives parameters values among which none is without effect: biases are not zero, a and b differ between channels.
void fill_law_parameters(ParameterSet& parameters, std::uint64_t seed);

// A mixer alone, with parameters of its own.
struct LawMixer {
  ParameterSet parameters;
  std::unique_ptr<Mixer> mixer;

  LawMixer(const LayerForm& form, Placement placement, std::int64_t width = kLawWidth,
           std::int64_t context = kLawContext);
};

// What a law is put to: a mixer with inputs for it. A whole model can be one too, dressed as a mixer of tokens.
struct LawSubject {
  std::string name;
  std::shared_ptr<Mixer> mixer;
  DType dtype = DType::f64;
  Device device = kCpu;
  std::int64_t context = kLawContext;  // tokens for which states are made where their size matters
  std::function<Tensor(std::int64_t batch, std::int64_t steps, std::uint64_t seed)> input;
  // The same input with very large values, all finite, after time t.
  std::function<Tensor(const Tensor& input, std::int64_t t)> loud_after;

  std::unique_ptr<MixerState> new_state(std::int64_t batch, std::int64_t max_tokens) const {
    return mixer->new_state(batch, max_tokens, {dtype, device});
  }
};

LawSubject law_subject(const LayerForm& form, Placement placement, std::int64_t context = kLawContext);

// y[t] depends on the inputs up to t only, bit for bit.
std::string not_causal(const LawSubject& subject, std::int64_t steps);
// d y[t] / d x[t + n] is exactly 0, and d y[t] / d x[t] is not.
std::string gradient_not_causal(const LawSubject& subject, std::int64_t steps);
// forward = prefill of the first k tokens and single steps, or pieces of 3 tokens, for every k.
std::string pieces_differ(const LawSubject& subject, std::int64_t steps);
// The same over a long sequence, cut into pieces of these sizes, the last one as often as it takes: what a state
// forgets or rounds adds up. Softmax heads see the last `context` tokens.
std::string long_memory_differs(const LawSubject& subject, std::int64_t steps, const std::vector<std::int64_t>& sizes);
// Permuting the batch permutes the outputs, and a sequence alone gives what it gives in a batch: bit for bit, and on a
// CUDA device, where cuBLAS chooses its kernel by the number of rows, to rounding.
std::string rows_depend(const LawSubject& subject, std::int64_t steps);
// A state has the bytes of state_bytes, says so, and has taken them from the pool.
std::string state_size_differs(const LawSubject& subject, std::int64_t batch);
// Decoding `steps` tokens takes no more memory than the first 100 did.
std::string state_grows(const LawSubject& subject, std::int64_t steps);
// Neither a clone nor its original sees what the other decodes; a state after reset() is as a new one. Bit for bit.
std::string states_depend(const LawSubject& subject, std::int64_t first, std::int64_t then);

// The gradients of the input and of every parameter against central differences (autograd/gradcheck.h), in f64 on
// `device`, for all forms of the kind. Each parameter must have an effect in one form at least.
std::vector<std::string> gradient_failures(const LayerKind& kind, Device device = kCpu);

// All of these for the kind's forms of several lengths, in f64, f32 and bf16: one line for each failure. Seconds to a
// minute, by the number of forms.
std::vector<std::string> mixer_kind_failures(const LayerKind& kind, Device device = kCpu);

// For laws of one's own. Times [begin,end) of [B,T,W] or [B,T], copied.
Tensor time_slice(const Tensor& x, std::int64_t begin, std::int64_t end);
// Feeds x to a state in pieces of these sizes, the last one as often as it takes; the outputs put together.
Tensor in_pieces(const Mixer& mixer, const Tensor& x, MixerState& state, const std::vector<std::int64_t>& sizes);
// Empty when |got - want|, computed on `device`, lies everywhere within the dtype's tolerance of the largest |want|.
std::string differs(const Tensor& got, const Tensor& want, Device device);

}  // namespace mixgrad
