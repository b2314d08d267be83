#include "nn/data/data_set.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/system/interrupt.h"
#include "core/text/byte_order_mark.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"
#include "core/text/utf8.h"
#include "nn/data/documents.h"
#include "nn/data/prepared.h"
#include "nn/files/file.h"
#include "nn/files/hash.h"
#include "nn/tokenizers/ids_tokenizer.h"

namespace mixgrad {
namespace {

constexpr std::size_t kHashPiece = std::size_t{1} << 20U;

TextId identify_files(const std::vector<const SourceList*>& lists) {
  TextId id;
  Xxh3 hash;
  for (const SourceList* list : lists) {
    for (const SourceFile& file : list->files) {
      const MappedFile content = MappedFile::open(file.path);
      const std::string_view bytes = without_byte_order_mark(content.text());
      for (std::size_t at = 0; at < bytes.size(); at += kHashPiece) {
        check_interrupt();
        const std::string_view piece = bytes.substr(at, kHashPiece);
        hash.add(piece.data(), piece.size());
      }
      content.require_whole();
      id.bytes += bytes.size();
    }
  }
  id.xxh3 = hash.hex();
  return id;
}

[[noreturn]] void require_document_token() {
  raise<ValueError>("--reset-state needs the token at which documents begin; there is none; ",
                    "give --document-token TOKEN, which puts one behind each document");
}

TokenData open_folder(const DataSpec& spec, const std::string& folder, Identify identify) {
  TokenData data = open_prepared(folder, identify);
  if (!spec.reset_state) return data;
  const std::optional<std::int32_t> token = read_manifest(folder).document_token;
  if (!token) {
    raise<ValueError>(folder, ": --reset-state needs the token at which documents begin; the data have none; prepare ",
                      "them with --document-token TOKEN");
  }
  data.set_document_start(*token);
  return data;
}

// The data of a spec, read.
class OpenedSet {
 public:
  OpenedSet(const DataSpec& spec, const SourceList& train, const SourceList& valid)
      : spec_(spec), train_(read_documents(train, spec.reading)) {
    if (spec.valid.kind == ValidChoice::Kind::sources) {
      valid_ = read_documents(valid, spec.reading);
      require_same_kind(train_, *valid_);
    }
  }

  bool has_ids() const { return train_.has_ids(); }

  TokenizerPtr tokenizer_of_ids() const {
    std::int64_t vocabulary = std::max<std::int64_t>(train_.vocabulary, valid_ ? valid_->vocabulary : 0);
    if (const auto token = parse_integer(spec_.document_token)) vocabulary = std::max(vocabulary, *token + 1);
    return ids_tokenizer(std::max<std::int64_t>(spec_.vocab > 0 ? spec_.vocab : vocabulary, 1));
  }
  TokenizerPtr make(const TokenizerType& type) const {
    if (!valid_ && spec_.document_token.empty()) return type.make({.text = train_.text, .source = train_.source});
    const std::string all = train_.text + spec_.document_token + (valid_ ? valid_->text : "");
    return type.make({.text = all, .source = train_.source + (valid_ ? " and " + valid_->source : "")});
  }

  void fit(const Tokenizer& tokenizer, const UnknownRule& rule) {
    fit(train_, tokenizer, rule);
    if (valid_) fit(*valid_, tokenizer, rule);
  }

  TokenData finish(TokenizerPtr tokenizer, std::optional<TextId> id) {
    const std::optional<std::int32_t> token = find_document_token(spec_.document_token, has_ids(), *tokenizer);
    if (has_ids()) {
      require_vocabulary(train_, tokenizer->vocab_size());
      if (valid_) require_vocabulary(*valid_, tokenizer->vocab_size());
    }
    if (spec_.reset_state && !token) require_document_token();
    TokenData::KnownIds known{.ids = {}, .source = train_.source, .id = std::move(id), .misfits = std::move(misfits_)};
    EncodedDocuments all = encode_documents(train_, tokenizer.get(), token);
    const bool by_document = std::cmp_greater_equal(all.ends.size(), kDocumentsToSplit);
    switch (spec_.valid.kind) {
      case ValidChoice::Kind::none: append(known.ids, all.ids, known.train); break;
      case ValidChoice::Kind::sources:
        append(known.ids, all.ids, known.train);
        append(known.ids, encode_documents(*valid_, tokenizer.get(), token).ids);
        known.valid_apart = true;
        break;
      case ValidChoice::Kind::fraction: {
        SplitDocuments split = split_documents(all, spec_.valid.fraction);
        all = {};
        append(known.ids, split.train.ids, known.train);
        append(known.ids, split.valid.ids);
        known.valid_apart = by_document;
        break;
      }
    }
    TokenData data = TokenData::from_ids(std::move(known), std::move(tokenizer));
    if (spec_.reset_state) data.set_document_start(*token);
    return data;
  }

 private:
  static void append(std::vector<std::int32_t>& to, const std::vector<std::int32_t>& ids) {
    to.insert(to.end(), ids.begin(), ids.end());
  }
  static void append(std::vector<std::int32_t>& to, const std::vector<std::int32_t>& ids, std::int64_t& size) {
    append(to, ids);
    size = static_cast<std::int64_t>(to.size());
  }

  static void require_vocabulary(const Documents& documents, std::int64_t vocabulary) {
    if (documents.vocabulary <= vocabulary) return;
    const auto above =
        std::find_if(documents.ids.begin(), documents.ids.end(), [&](std::int32_t id) { return id >= vocabulary; });
    if (above == documents.ids.end()) return;  // the kind of file allows more than there is
    raise<FormatError>(documents.source, ": every token must be below the vocabulary of ", vocabulary, "; token ",
                       above - documents.ids.begin(), " is ", *above, "; give data of that vocabulary");
  }

  void fit(Documents& documents, const Tokenizer& tokenizer, const UnknownRule& rule) {
    Documents fitted = documents;
    fitted.text.clear();
    for (std::int64_t d = 0; d < documents.count(); ++d) {
      const auto begin = static_cast<std::size_t>(documents.begin(d));
      std::int64_t& end = fitted.ends[static_cast<std::size_t>(d)];
      const std::string_view text =
          std::string_view(documents.text).substr(begin, static_cast<std::size_t>(end) - begin);
      const FittedText one = fit_text(text, tokenizer, rule, documents.source);
      fitted.text += one.misfits.empty() ? text : std::string_view(one.text);
      end = static_cast<std::int64_t>(fitted.text.size());
      note(one.misfits);
    }
    documents = std::move(fitted);
  }
  void note(const Misfits& found) {
    misfits_.count += found.count;
    for (const Misfits::Kind& kind : found.kinds) {
      const auto known = std::find_if(misfits_.kinds.begin(), misfits_.kinds.end(),
                                      [&](const Misfits::Kind& other) { return other.code == kind.code; });
      if (known == misfits_.kinds.end()) {
        misfits_.kinds.push_back(kind);
      } else {
        known->count += kind.count;
      }
    }
  }

  const DataSpec& spec_;
  Documents train_;
  std::optional<Documents> valid_;
  Misfits misfits_;
};

struct FoundSources {
  SourceList train, valid;

  explicit FoundSources(const DataSpec& spec) : train(find_sources(spec.sources)) {
    if (spec.valid.kind == ValidChoice::Kind::sources) valid = find_sources(spec.valid.sources);
    require_useful_options(spec, train, valid);
  }
  std::optional<TextId> identify(Identify wanted) const {
    if (wanted == Identify::no) return std::nullopt;
    return identify_files({&train, &valid});
  }
};

}  // namespace

void require_useful_options(const DataSpec& spec, const SourceList& train, const SourceList& valid) {
  const auto any = [&](std::initializer_list<std::string_view> names) {
    const auto is = [&](const SourceFile& file) {
      return std::find(names.begin(), names.end(), file.reader->name) != names.end();
    };
    return std::any_of(train.files.begin(), train.files.end(), is) ||
           std::any_of(valid.files.begin(), valid.files.end(), is);
  };
  const auto refuse = [](const char* option, const char* what) {
    raise<ValueError>(option, " cannot be given here: no source is ", what, "; leave it out");
  };
  if (!spec.reading.field.empty() && !any({"json", "json_lines"})) refuse("--field", "JSON");
  if (!spec.reading.column.empty() && !any({"csv", "tsv"})) refuse("--column", "a table");
  if (!spec.reading.codebooks.empty() && !any({"npy", "safetensors"})) refuse("--codebooks", "an array of codes");
  if (spec.reading.codebook_size != ReaderOptions{}.codebook_size && !any({"npy", "safetensors"})) {
    refuse("--codebook-size", "an array of codes");
  }
}

std::optional<std::int32_t> find_document_token(const std::string& text, bool ids, const Tokenizer& tokenizer) {
  if (text.empty()) return std::nullopt;
  if (!ids) {
    if (const auto id = tokenizer.id_of(text)) return id;
    raise<ValueError>("--document-token must be one token of the vocabulary; got ", quote(text),
                      "; give the text of a token, such as one character");
  }
  const auto number = parse_integer(text);
  if (number && *number >= 0 && *number < tokenizer.vocab_size()) return static_cast<std::int32_t>(*number);
  raise<ValueError>("--document-token must be an id from 0 to ", tokenizer.vocab_size() - 1, "; got ", quote(text),
                    "; give such an id");
}

std::string prepared_folder(const DataSpec& spec) {
  const auto found =
      std::find_if(spec.sources.begin(), spec.sources.end(), [](const auto& s) { return is_prepared(s); });
  if (found == spec.sources.end()) return {};
  const auto refuse = [&](const char* what, const char* advice) {
    raise<ValueError>(*found, ": a folder of data prepare ", what, "; ", advice);
  };
  if (spec.sources.size() > 1) refuse("must be the only source", "prepare all data together");
  if (spec.valid != ValidChoice{}) refuse("has a split of its own", "leave --valid out, or prepare the data with it");
  const bool reads = !spec.reading.field.empty() || !spec.reading.column.empty() || !spec.reading.codebooks.empty();
  if (reads || !spec.document_token.empty()) {
    refuse("has been read already", "leave --field, --column, --codebooks and --document-token out");
  }
  return *found;
}

bool is_single_text(const DataSpec& spec, const SourceList& list) {
  return list.files.size() == 1 && list.files[0].reader->name == "text" && spec.valid == ValidChoice{} &&
         spec.document_token.empty() && !spec.reset_state;
}

TextId identify_data(const DataSpec& spec) {
  const std::string folder = prepared_folder(spec);
  if (!folder.empty()) return open_prepared(folder, Identify::yes).text_id().value();
  return FoundSources(spec).identify(Identify::yes).value();
}

TokenData open_data_set(const DataSpec& spec, const TokenizerType& type, Identify identify) {
  if (const std::string folder = prepared_folder(spec); !folder.empty()) return open_folder(spec, folder, identify);
  const FoundSources found(spec);
  if (is_single_text(spec, found.train)) return TokenData::open(found.train.files[0].path, type, identify);
  OpenedSet set(spec, found.train, found.valid);
  TokenizerPtr tokenizer = set.has_ids() ? set.tokenizer_of_ids() : set.make(type);
  return set.finish(std::move(tokenizer), found.identify(identify));
}

TokenData open_data_set(const DataSpec& spec, TokenizerPtr tokenizer, Identify identify, const UnknownRule& unknown) {
  if (const std::string folder = prepared_folder(spec); !folder.empty()) {
    TokenData data = open_folder(spec, folder, identify);
    if (data.tokenizer() == *tokenizer) return data;
    raise<FormatError>(folder, ": the data must have been prepared with the tokenizer of the checkpoint; they have ",
                       "another one; prepare them with --tokenizer and that checkpoint");
  }
  const FoundSources found(spec);
  const bool ids = found.train.files[0].reader->yields == Reader::Yields::ids;
  // Ids may be those of a tokenizer of pieces of text, such as GPT-2's; one of characters or bytes reads text alone.
  const bool reads_text =
      tokenizer->is_text() && (tokenizer->byte_ids() != nullptr || !tokenizer->expresses_any_text());
  if (ids ? reads_text : !tokenizer->is_text()) {
    raise<FormatError>(
        found.train.files[0].path.string(),
        ids ? ": the model reads text; the file holds token ids" : ": the model reads token ids; the file holds text",
        "; give data of the kind that it was trained on");
  }
  if (is_single_text(spec, found.train)) {
    return TokenData::open(found.train.files[0].path, std::move(tokenizer), identify, unknown);
  }
  OpenedSet set(spec, found.train, found.valid);
  if (unknown.action != UnknownRule::Action::refuse && !ids) set.fit(*tokenizer, unknown);
  return set.finish(std::move(tokenizer), found.identify(identify));
}

}  // namespace mixgrad
