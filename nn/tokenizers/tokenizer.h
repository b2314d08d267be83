// Text to token ids and back: what every tokenizer can do.
//
//   const TokenizerPtr tokenizer = make_tokenizer("char", {.text = text, .source = "my.txt"});   // tokenizer_types.h
//   const std::vector<std::int32_t> ids = tokenizer->encode("ROMEO:");
//   const std::string again = tokenizer->decode(ids);
//
// A tokenizer is immutable and safe to share between threads. README.md of this folder shows how to add one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mixgrad {

class Tokenizer;
using TokenizerPtr = std::shared_ptr<const Tokenizer>;

// Ids that mean more than a piece of text; a tokenizer that lacks one leaves it empty.
struct SpecialTokens {
  std::optional<std::int32_t> start = {};    // stands before a text
  std::optional<std::int32_t> end = {};      // stands behind a text
  std::optional<std::int32_t> unknown = {};  // replaces what the vocabulary cannot express
  std::optional<std::int32_t> padding = {};  // fills the rest of a row
};

// Receives a text's ids in order, many at a time. `bytes` bytes of the text are encoded so far.
using TokenSink = std::function<void(std::span<const std::int32_t> ids, std::size_t bytes)>;

// Decodes a stream of tokens. A token may be a part of a character, so text arrives when its characters are complete.
class TokenDecoder {
 public:
  virtual ~TokenDecoder() = default;
  // The text that is certain after this token; "" while a character is incomplete. ValueError: no such id.
  virtual std::string next(std::int32_t id) = 0;
  // What is left at the end of the stream: the bytes of an incomplete character.
  virtual std::string finish() = 0;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::int64_t vocab_size() const = 0;  // ids are 0 .. vocab_size() - 1; they may exceed 65535
  virtual SpecialTokens special_tokens() const { return {}; }

  // Encodes the whole text and hands its ids to `sink`. Special tokens are never added; their names in a text are text,
  // unless the tokenizer looks for them (hugging_face_tokenizer.h). `source` names the text in errors.
  // ValueError: the vocabulary cannot express a part of the text (with its position), and there is no unknown token.
  // FormatError: the text is not in the encoding that this tokenizer needs. Both name `source`.
  virtual void encode_into(std::string_view text, const std::string& source, const TokenSink& sink) const = 0;
  std::vector<std::int32_t> encode(std::string_view text, const std::string& source = "text") const;

  // An upper bound of the number of tokens in `text`, as close as is cheap: that much memory is reserved for them.
  virtual std::size_t max_tokens(std::string_view text) const { return text.size(); }

  // The bytes that a token stands for by itself, perhaps a part of a character. ValueError: no such id.
  virtual std::string piece(std::int32_t id) const = 0;
  virtual std::int64_t byte_count(std::int32_t id) const { return static_cast<std::int64_t>(piece(id).size()); }
  virtual std::optional<std::int32_t> id_of(std::string_view piece) const = 0;

  // Whether every text can be encoded: in bytes, or with an unknown token. A tokenizer whose vocabulary is one of
  // characters returns false and says which it has; texts are then fitted to it by nn/tokenizers/misfits.h.
  virtual bool expresses_any_text() const { return true; }
  virtual bool has_character(char32_t /*code*/) const { return true; }

  // Whether the tokens stand for text. If not (nn/tokenizers/ids_tokenizer.h), bytes per token mean nothing.
  virtual bool is_text() const { return true; }

  // The text of the ids: that which was encoded, after the tokenizer's normalisation. ValueError: no such id.
  std::string decode(std::span<const std::int32_t> ids) const;
  // The decoder must not outlive the tokenizer. By default the text is that of the pieces, one after the other.
  virtual std::unique_ptr<TokenDecoder> new_decoder() const;

  // When every token is exactly one byte: the id of each byte, or -1 for a byte outside the vocabulary. Such a text is
  // never stored as ids (nn/data/token_data.h). nullptr for every other tokenizer.
  virtual const std::array<std::int32_t, 256>* byte_ids() const { return nullptr; }

  // The content of tokenizer.json: an object whose "type" is the name of the tokenizer's type (tokenizer_types.h).
  virtual std::string to_json() const = 0;

 protected:
  Tokenizer() = default;
  Tokenizer(const Tokenizer&) = default;
  Tokenizer& operator=(const Tokenizer&) = default;

  void check_id(std::int32_t id) const;  // ValueError
};

// Two tokenizers are equal when they are stored as the same bytes.
inline bool operator==(const Tokenizer& a, const Tokenizer& b) { return a.to_json() == b.to_json(); }

}  // namespace mixgrad
