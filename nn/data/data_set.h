// The data of a run: which sources, how they are read, and how they are split.
//
//   const DataSpec spec{.sources = {"tunes/"}, .valid = {.fraction = 0.05}};
//   const TokenData data = open_data_set(spec, tokenizer_type("char"), Identify::yes);
//
// A single file of text with the usual split stays mapped (nn/data/token_data.h). Anything else is read into memory,
// two or four bytes a token: the documents one after another, those for training first.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nn/data/readers/reader.h"
#include "nn/data/sources.h"
#include "nn/data/token_data.h"

namespace mixgrad {

// What is for validation.
struct ValidChoice {
  enum class Kind : std::uint8_t { fraction, sources, none };
  Kind kind = Kind::fraction;
  double fraction = 0.1;
  std::vector<std::string> sources = {};
  friend bool operator==(const ValidChoice&, const ValidChoice&) = default;
};

struct DataSpec {
  std::vector<std::string> sources = {};
  ReaderOptions reading = {};
  ValidChoice valid = {};
  std::string document_token = {};  // stands behind each document; of ids a number; "" = nothing
  bool reset_state = false;         // windows are cut where the document token stands
  std::int64_t vocab = 0;           // of ids: they must be below it; 0 = the largest id + 1
};

// Whether the spec means one file of text, as it is, with the usual split.
bool is_single_text(const DataSpec& spec, const SourceList& list);

// The identity of all files, training then validation, one after another, each without the byte order mark. Of a single
// text it is that of TokenData::open.
TextId identify_data(const DataSpec& spec);

// ValueError for --field, --column or --codebooks that no source needs.
void require_useful_options(const DataSpec& spec, const SourceList& train, const SourceList& valid);

// The id of --document-token, if one is given. ValueError: it is no token of the vocabulary.
std::optional<std::int32_t> find_document_token(const std::string& text, bool ids, const Tokenizer& tokenizer);

// The folder of prepared data (nn/data/prepared.h) that the spec means, or "". ValueError: beside other sources, or
// with options that data prepare has decided.
std::string prepared_folder(const DataSpec& spec);

// With a tokenizer made from the text of all sources; ids get a tokenizer of their own (nn/tokenizers/ids_tokenizer.h).
// The document token becomes document_start() of the data when the spec resets states.
// FormatError, ValueError, IoError as find_sources, Reader::read and TokenData::open; FormatError also for an id
// outside the vocabulary; ValueError for a document token that is no token, or options that no source needs.
TokenData open_data_set(const DataSpec& spec, const TokenizerType& type, Identify identify = Identify::no);
// With a tokenizer that exists. FormatError when it is one of text and the data are ids, or the reverse.
TokenData open_data_set(const DataSpec& spec, TokenizerPtr tokenizer, Identify identify = Identify::no,
                        const UnknownRule& unknown = {});

}  // namespace mixgrad
