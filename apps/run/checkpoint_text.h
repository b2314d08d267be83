// The text on which a verb measures a trained model: that of --data, or the one that its run was trained on.
#pragma once

#include <string>

#include "apps/options/model_options.h"
#include "nn/data/token_data.h"

namespace mixgrad::app {

// `text` holds what the command line said of data; without --data it becomes what the run says. The checkpoint's
// tokenizer must express the text. What is left out or replaced, and that the text is the run's, is said on stderr.
// ValueError that asks for --data when the checkpoint holds a model alone; FormatError, IoError as open_data.
TokenData open_checkpoint_text(const std::string& verb, const std::string& checkpoint, const TokenizerPtr& tokenizer,
                               ModelOptions text);

}  // namespace mixgrad::app
