// What a model makes of one prompt: its tokens, and their text as far as it is complete.
//
//   Continuation continuation(tokenizer, prompt, stops, {.tokens = 200});
//   put(continuation.prompt_text());
//   while (!continuation.ended()) put(continuation.next(generator.next()));
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/generation/stop_matcher.h"
#include "nn/model/batch_generator.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad::app {

class Continuation {
 public:
  // What is kept of the tokens that were taken. `nothing`: for a text that is shown as it comes, whose memory then does
  // not grow with it; drawn(), text() and ids() stay empty.
  enum class Keep : std::uint8_t { everything, nothing };

  // At most `tokens` are taken. Tokenizer and stops are kept by reference. The first `hidden` tokens of the prompt are
  // no text.
  Continuation(const Tokenizer& tokenizer, std::vector<std::int32_t> prompt, const StopTexts& stops,
               std::int64_t tokens, std::size_t hidden = 0, Keep keep = Keep::everything);

  // The text of the prompt, as far as its last character is complete, without what is hidden.
  const std::string& prompt_text() const { return prompt_text_; }
  const std::vector<std::int32_t>& prompt() const { return prompt_; }

  // Takes the next token; returns the text that is certain now, with the end of it when this was the last token.
  std::string next(const BatchGenerator::Drawn& drawn);
  bool ended() const { return at_end_token_ || matcher_.stopped() || taken_ >= most_; }
  bool at_end_token() const { return at_end_token_; }  // the last token drawn was the one that ends a text
  std::int64_t taken() const { return taken_; }        // tokens, also the end token and those of a stop text

  const std::vector<BatchGenerator::Drawn>& drawn() const {
    return drawn_;
  }                                                              // also the end token and those of a stop text
  const std::string& text() const { return text_; }              // without the prompt and a stop text
  const std::vector<std::int32_t>& ids() const { return ids_; }  // of a model of ids: the same as ids
  const std::string* stop() const { return matcher_.stopped() ? &matcher_.stop() : nullptr; }

 private:
  std::string take(const Symbols& symbols);

  const Tokenizer& tokenizer_;
  std::vector<std::int32_t> prompt_;
  std::int64_t most_, taken_ = 0;
  Keep keep_;
  std::optional<std::int32_t> end_token_;
  bool at_end_token_ = false;
  std::unique_ptr<TokenDecoder> decoder_;
  StopMatcher matcher_;
  std::string prompt_text_, text_;
  std::vector<std::int32_t> ids_;
  std::vector<BatchGenerator::Drawn> drawn_;
};

}  // namespace mixgrad::app
