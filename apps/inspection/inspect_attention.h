// mixgrad inspect attention: where a model looks, one table per kind of mixer.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/analysis/head_selection.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad::app {

// Whether there are softmax heads in the selection: what they attend to depends on a text, shifts and decay times on
// the parameters alone.
bool needs_text(const Decoder& model, const HeadSelection& selection);

struct InspectAttention {
  HeadSelection selection;
  std::int64_t window = 4;  // k of the recency ratio
  bool json = false;
};

// Prints to stdout: tables, or with `json` one object a line.
//   on a text     recency ratios of softmax heads, depth mass of a shortcut
//   of the model  heads that mix by a shift and the lags that they reach, decay times of Mamba heads; for these the
//                 text may be empty
// ValueError when a text is needed and empty, has characters outside the vocabulary, or there is nothing to show. A
// text of any length is cut into sequences as long as the context; what is left over is not used.
void inspect_attention(const Decoder& model, const Tokenizer& tokenizer, std::vector<std::int32_t> ids,
                       const InspectAttention& options);

}  // namespace mixgrad::app
