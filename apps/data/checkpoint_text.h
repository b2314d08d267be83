// A trained model that a verb measures, and the text for it: that of --data, or the one that its run was trained on.
#pragma once

#include <string>

#include "apps/options/model_options.h"
#include "apps/options/placement_options.h"
#include "nn/data/token_data.h"
#include "nn/training/checkpoint.h"

namespace mixgrad::app {

// `text` holds what the command line said of data; without --data it becomes what the run says. The checkpoint's
// tokenizer must express the text. What is left out or replaced, and that the text is the run's, is said on stderr.
// ValueError that asks for --data when the checkpoint holds a model alone; FormatError, IoError as open_data.
TokenData open_checkpoint_text(const std::string& verb, const std::string& checkpoint, const TokenizerPtr& tokenizer,
                               ModelOptions text);

// The checkpoint in the type of --precision, which may be "stored": that of its parameters.
Checkpoint load_in_type(const std::string& checkpoint, const PlacementOptions& placement);

}  // namespace mixgrad::app
