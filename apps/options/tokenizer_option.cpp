#include "apps/options/tokenizer_option.h"

#include <filesystem>
#include <system_error>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/tokenizers/tokenizer_types.h"

namespace mixgrad::app {

std::string tokenizer_help() {
  std::string help;
  for (const std::string& name : tokenizer_names()) {
    help += name + ": " + tokenizer_type(name.substr(0, name.find(':'))).summary + "; ";
  }
  return help + "a file or folder: the tokenizer that it holds";
}

bool tokenizer_is_made(const std::string& given) {
  if (names_tokenizer(given)) return true;
  std::error_code error;
  if (std::filesystem::exists(given, error) || given.find('/') != std::string::npos) return false;
  raise<ValueError>("--tokenizer must be one of ", join(tokenizer_names()), ", or a file or folder; got ", quote(given),
                    ", which is none of them; ", did_you_mean(given, tokenizer_type_names()),
                    "choose one, or check the path");
}

}  // namespace mixgrad::app
