// How the heads of a converted model start (nn/analysis/conversion/conversion.h).
//   default          as in a new model: random, and unlike what they replace
//   zero-out         the same, but they give nothing: out_proj is 0 (of shift heads a = b = 0)
//   from-attention   near what the attention head gave, from its own values: docs/recurformer.md derives it
#pragma once

#include <vector>

#include "nn/analysis/conversion/conversion.h"
#include "nn/analysis/sample_sequences.h"

namespace mixgrad {

enum class HeadStart : std::uint8_t { standard, from_attention, zero_out };
template <>
const std::vector<std::string>& enum_names<HeadStart>();

void start_at_zero(Decoder& to, const std::vector<ReplacedHead>& heads, HeadTarget kind);

// Sets the heads' parameters from those of `from` and from what it computes on the sample, by least squares. Returns
// for each head which share of the attention head's output on the sample it gives (1 - |error|^2 / |output|^2).
// NotFinite when `from` computes a number that is none.
std::vector<double> start_from_attention(const Decoder& from, Decoder& to, const std::vector<ReplacedHead>& heads,
                                         HeadTarget kind, const SampledSequences& sample);

}  // namespace mixgrad
