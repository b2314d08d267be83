#include "apps/data/data_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "apps/data/standard_input_data.h"
#include "apps/options/tokenizer_option.h"
#include "apps/output/json_line.h"
#include "apps/output/table.h"
#include "core/error.h"
#include "core/text/escape.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"
#include "core/text/utf8.h"
#include "nn/data/data_set.h"
#include "nn/data/documents.h"
#include "nn/data/ngram.h"
#include "nn/data/prepared.h"
#include "nn/files/strict_json.h"
#include "nn/tokenizers/tokenizer_files.h"
#include "nn/tokenizers/tokenizer_types.h"

namespace mixgrad::app {
namespace {

constexpr std::int64_t kSamples = 3;
constexpr std::int64_t kSampleTokens = 120, kSampleIds = 24;
constexpr std::size_t kTopSymbols = 12;

using Ids = std::vector<std::int32_t>;

// The data as ids, in two parts.
struct ShownData {
  Documents documents;  // of the training source, whose text may be split below
  std::string left_out, valid_source;
  TokenizerPtr tokenizer;                    // nullptr: the data are ids
  EncodedDocuments all;                      // of the training source
  Ids train, valid;                          // valid is empty with --valid none
  std::optional<PreparedManifest> manifest;  // of prepared data, whose single documents are not known
};

void cut_to(Ids& ids, std::int64_t first, const char* part) {
  if (first == 0) return;
  if (std::cmp_greater(first, ids.size())) {
    raise<ValueError>("--first: the ", part, " part must have at least ", first, " symbols; it has ", ids.size(),
                      "; give a smaller number");
  }
  ids.resize(static_cast<std::size_t>(first));
}

// A tokenizer for both texts, whose vocabulary is made from both.
TokenizerPtr tokenizer_for(const std::string& type, const Documents& train, const Documents* valid) {
  const std::string name = type.empty() ? "char" : type;
  if (!tokenizer_is_made(name)) return open_tokenizer(name);
  if (valid == nullptr) return make_tokenizer(name, {.text = train.text, .source = train.source});
  const std::string both = train.text + valid->text;
  return make_tokenizer(name, {.text = both, .source = train.source + " and " + valid->source});
}

// Of a folder of data prepare: its parts, as far as --first asks for them.
ShownData read_prepared_data(const DataReportOptions& options) {
  const DataSpec spec{.sources = options.sources,
                      .reading = options.source_options.reader_options(),
                      .valid = options.source_options.valid_choice()};
  prepared_folder(spec);  // refuses options that were decided when it was prepared
  if (!options.tokenizer.empty())
    raise<ValueError>("--tokenizer cannot be given here: the data have one; leave it out");
  const TokenData tokens = open_prepared(options.sources[0], Identify::no);
  const PreparedManifest manifest = read_manifest(options.sources[0]);
  ShownData data;
  data.documents.source = options.sources[0];
  data.documents.rate = manifest.rate;
  if (tokens.tokenizer().is_text()) data.tokenizer = tokens.tokenizer_ptr();
  data.manifest = manifest;
  const auto part = [&](TokenRange range, std::int64_t first, const char* name) {
    const std::int64_t count = first > 0 ? std::min(first, range.size()) : range.size();
    Ids ids(static_cast<std::size_t>(count));
    tokens.gather(range.begin, count, ids.data());
    cut_to(ids, first, name);
    return ids;
  };
  data.train = part(tokens.train(), options.first_train, "training");
  data.valid = part(tokens.valid(), options.first_valid, "validation");
  data.all.ids = data.train;  // for samples
  data.all.ends = {static_cast<std::int64_t>(data.train.size())};
  return data;
}

ShownData read_shown(const DataReportOptions& options) {
  const ReaderOptions reading = options.source_options.reader_options();
  const ValidChoice choice = options.source_options.valid_choice();
  if (options.sources.size() == 1 && is_prepared(options.sources[0])) return read_prepared_data(options);
  ShownData data;
  SourceList list = find_sources(options.sources);
  data.documents = read_documents(list, reading);
  std::optional<Documents> valid;
  if (choice.kind == ValidChoice::Kind::sources) {
    const SourceList of_valid = find_sources(options.source_options.valid);
    list.count_left_out_of(of_valid);
    valid = read_documents(of_valid, reading);
    data.valid_source = valid->source;
    require_same_kind(data.documents, *valid);
  }
  data.left_out = list.left_out_text();
  if (!data.documents.has_ids()) {
    data.tokenizer = tokenizer_for(options.tokenizer, data.documents, valid ? &*valid : nullptr);
  } else if (!options.tokenizer.empty()) {
    raise<ValueError>("--tokenizer cannot be given here: ", data.documents.source, " holds token ids; leave it out");
  }
  data.all = encode_documents(data.documents, data.tokenizer.get(), std::nullopt);
  if (valid) {
    data.train = data.all.ids;
    data.valid = encode_documents(*valid, data.tokenizer.get(), std::nullopt).ids;
  } else if (choice.kind == ValidChoice::Kind::none) {
    data.train = data.all.ids;
  } else {
    const SplitDocuments split = split_documents(data.all, choice.fraction);
    data.train = split.train.ids;
    data.valid = split.valid.ids;
  }
  cut_to(data.train, options.first_train, "training");
  if (choice.kind != ValidChoice::Kind::none) cut_to(data.valid, options.first_valid, "validation");
  return data;
}

// A symbol for people: the text of a token in quotes, or the id.
std::string symbol_text(const ShownData& data, std::int32_t id) {
  if (data.tokenizer == nullptr) return std::to_string(id);
  std::string piece = data.tokenizer->piece(id);
  if (!is_utf8(piece)) {
    std::string bytes;
    for (const char c : piece) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      bytes += hex;
    }
    piece = bytes;
  }
  return quote(piece);
}

struct SymbolCount {
  std::int32_t id;
  std::int64_t count;
};

// Of the training part, the most frequent first.
std::vector<SymbolCount> symbol_counts(const Ids& ids) {
  std::vector<std::int64_t> counts(
      ids.empty() ? 0 : static_cast<std::size_t>(*std::max_element(ids.begin(), ids.end())) + 1);
  for (const std::int32_t id : ids) ++counts[static_cast<std::size_t>(id)];
  std::vector<SymbolCount> found;
  for (std::size_t id = 0; id < counts.size(); ++id) {
    if (counts[id] > 0) found.push_back({static_cast<std::int32_t>(id), counts[id]});
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.count > b.count; });
  return found;
}

struct Lengths {
  std::int64_t shortest = 0, median = 0, longest = 0;
  double mean = 0;
};
std::int64_t document_count(const ShownData& data) {
  return data.manifest ? data.manifest->documents : static_cast<std::int64_t>(data.all.ends.size());
}
std::int64_t token_count(const ShownData& data) {
  return data.manifest ? data.manifest->tokens : static_cast<std::int64_t>(data.all.ids.size());
}

Lengths lengths_of(const ShownData& data) {
  if (data.manifest) {
    const PreparedManifest& manifest = *data.manifest;
    return {manifest.shortest, 0, manifest.longest,
            static_cast<double>(manifest.tokens) / static_cast<double>(std::max<std::int64_t>(manifest.documents, 1))};
  }
  const EncodedDocuments& documents = data.all;
  std::vector<std::int64_t> lengths;
  std::int64_t begin = 0;
  for (const std::int64_t end : documents.ends) {
    lengths.push_back(end - begin);
    begin = end;
  }
  if (lengths.empty()) return {};
  std::sort(lengths.begin(), lengths.end());
  return {lengths.front(), lengths[(lengths.size() - 1) / 2], lengths.back(),
          static_cast<double>(begin) / static_cast<double>(lengths.size())};
}

// The beginnings of documents that are spread over all of them.
std::vector<std::string> samples_of(const ShownData& data) {
  std::vector<std::string> samples;
  const auto documents = static_cast<std::int64_t>(data.all.ends.size());
  const std::int64_t count = std::min(documents, kSamples);
  for (std::int64_t s = 0; s < count; ++s) {
    const std::int64_t d = s * documents / count;
    const std::int64_t begin = d == 0 ? 0 : data.all.ends[static_cast<std::size_t>(d - 1)];
    const std::int64_t most = data.tokenizer == nullptr ? kSampleIds : kSampleTokens;
    const std::int64_t end = std::min(data.all.ends[static_cast<std::size_t>(d)], begin + most);
    const std::span<const std::int32_t> ids(data.all.ids.data() + begin, static_cast<std::size_t>(end - begin));
    std::string text;
    if (data.tokenizer != nullptr) text = data.tokenizer->decode(ids);
    for (const std::int32_t id : data.tokenizer == nullptr ? ids : std::span<const std::int32_t>()) {
      text += (text.empty() ? "" : " ") + std::to_string(id);
    }
    samples.push_back(text);
  }
  return samples;
}

void print_json_report(const ShownData& data, const std::vector<SymbolCount>& counts, std::int64_t symbols,
                       const std::vector<double>& ngram) {
  nlohmann::ordered_json report;
  report["data"] = json_text(data.documents.source);
  report["documents"] = document_count(data);
  report["tokens"] = token_count(data);
  report["train_tokens"] = data.train.size();
  report["valid_tokens"] = data.valid.size();
  report["symbols"] = symbols;
  if (data.documents.rate > 0) report["rate"] = data.documents.rate;
  const Lengths lengths = lengths_of(data);
  report["lengths"] = {{"shortest", lengths.shortest},
                       {"median", data.manifest ? nlohmann::ordered_json() : nlohmann::ordered_json(lengths.median)},
                       {"mean", lengths.mean},
                       {"longest", lengths.longest}};
  report["frequent"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < std::min(counts.size(), kTopSymbols); ++i) {
    nlohmann::ordered_json row{{"id", counts[i].id}, {"count", counts[i].count}};
    if (data.tokenizer != nullptr) row["text"] = data.tokenizer->piece(counts[i].id);
    report["frequent"].push_back(row);
  }
  report["ngram"] = ngram;
  report["samples"] = samples_of(data);
  print_json(report);
}

void print_text_report(const ShownData& data, const std::vector<SymbolCount>& counts, std::int64_t symbols,
                       const std::vector<double>& ngram) {
  const Lengths lengths = lengths_of(data);
  std::printf("%s: %s, %lld tokens of %lld kinds%s\n", data.documents.source.c_str(),
              count_text(document_count(data), "document").c_str(), static_cast<long long>(token_count(data)),
              static_cast<long long>(symbols), data.left_out.c_str());
  if (data.documents.rate > 0)
    std::printf("rate: %lld samples a second\n", static_cast<long long>(data.documents.rate));
  std::printf("length of a document: %lld to %lld, mean %.1f", static_cast<long long>(lengths.shortest),
              static_cast<long long>(lengths.longest), lengths.mean);
  if (!data.manifest) std::printf(", median %lld", static_cast<long long>(lengths.median));
  std::printf("\n");
  std::printf("training part: %zu tokens; validation part: %zu%s\n", data.train.size(), data.valid.size(),
              data.valid_source.empty() ? "" : (" of " + data.valid_source).c_str());
  std::printf("most frequent:");
  for (std::size_t i = 0; i < std::min(counts.size(), kTopSymbols); ++i) {
    std::printf("%s %s %.2f%%", i == 0 ? "" : ",", symbol_text(data, counts[i].id).c_str(),
                100.0 * static_cast<double>(counts[i].count) / static_cast<double>(data.train.size()));
  }
  std::printf("\n");
  for (const std::string& sample : samples_of(data)) {
    std::printf("sample: %s\n", data.tokenizer == nullptr ? sample.c_str() : quote(sample, 4 * kSampleTokens).c_str());
  }
  if (ngram.empty()) return;
  std::printf("\nn-gram baselines of the validation part (interpolated, Witten-Bell):\n");
  Table table(Format::text, {{.key = "n", .number = true},
                             {.key = "nats a token", .number = true, .format = "%.4f"},
                             {.key = "bits a token", .number = true, .format = "%.4f"}});
  for (std::size_t n = 0; n < ngram.size(); ++n) table.add({n + 1, ngram[n], ngram[n] / std::log(2.0)});
  table.finish();
}

}  // namespace

void show_data(const DataReportOptions& given) {
  DataReportOptions options = given;
  const TemporaryInput input(options.sources, options.source_options);
  const ShownData data = read_shown(options);
  if (data.train.empty()) {
    raise<FormatError>(data.documents.source, ": at least one token for training is required; there is none; ",
                       "give more data");
  }
  const std::int64_t symbols = count_symbols(data.train, data.valid);
  std::vector<double> ngram;
  if (!data.valid.empty()) ngram = ngram_losses(data.train, data.valid, {.symbols = symbols});
  const std::vector<SymbolCount> counts = symbol_counts(data.train);
  if (options.json) return print_json_report(data, counts, symbols, ngram);
  print_text_report(data, counts, symbols, ngram);
}

}  // namespace mixgrad::app
