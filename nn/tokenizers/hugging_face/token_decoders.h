// How a Hugging Face tokenizer makes a text of tokens again. Where `tokenizers` shows bytes that are no UTF-8 as
// U+FFFD, these give the bytes themselves.
//
//   const std::vector<DecoderStep> steps{ReplaceDecoder{"\u2581", " "}, ByteFallbackDecoder{}, FuseDecoder{},
//                                        StripDecoder{" ", 1, 0}};
//   DecodingStream stream(steps);
//   std::string text = stream.next("\u2581Hello") + stream.next("<0x0A>") + stream.finish();
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace mixgrad {

struct ReplaceDecoder {
  std::string pattern, content;  // the pattern is not empty
};
struct ByteFallbackDecoder {};  // <0x0A> is a byte
struct FuseDecoder {};          // what follows sees one token, the whole text
struct StripDecoder {           // takes away up to so many of this character at both ends of a token
  std::string content;
  std::size_t start = 0, stop = 0;
};
struct ByteLevelDecoder {};  // each character is a byte (byte_characters.h); fuses
struct MetaspaceDecoder {
  std::string replacement;
  bool drop_first = true;  // those of the first token are nothing, not spaces
};
struct SpaceDecoder {};  // a space between two tokens: what a tokenizer without a decoder does
using DecoderStep = std::variant<ReplaceDecoder, ByteFallbackDecoder, FuseDecoder, StripDecoder, ByteLevelDecoder,
                                 MetaspaceDecoder, SpaceDecoder>;

// One step of a stream: takes tokens, or after FuseDecoder parts of the text, and gives such.
class DecodingStage {
 public:
  virtual ~DecodingStage() = default;
  virtual std::string next(std::string part) = 0;
  virtual std::string finish() { return {}; }
};

class DecodingStream {
 public:
  explicit DecodingStream(const std::vector<DecoderStep>& steps);

  // The text that is certain after this token; it may end within a character.
  std::string next(std::string token);
  std::string finish();

 private:
  std::string pass(std::size_t from, std::string part);
  std::vector<std::unique_ptr<DecodingStage>> stages_;
};

// What a token stands for by itself, in the middle of a text.
std::string piece_of_token(const std::vector<DecoderStep>& steps, const std::string& token);

}  // namespace mixgrad
