#include "apps/options/source_options.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "apps/options/option_value.h"
#include "core/error.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"

namespace mixgrad::app {
namespace {

constexpr std::int64_t kMostSymbols = std::int64_t{1} << 24U;

}  // namespace

void SourceOptions::declare(OptionSet& options, const OptionTraits& traits) {
  declare_valid(options, traits);
  declare_readers(options, traits);
  OptionTraits of_token = traits;
  of_token.value = "TOKEN";
  of_token.absent_means = "";
  options.add("document-token", document_token,
              "Put behind each document: the text of a token, or of data of ids an id; without it nothing", of_token);
}

void SourceOptions::declare_reset_state(OptionSet& options, OptionTraits traits) {
  traits.absent_means = "false";
  options.add_flag("reset-state", reset_state,
                   "Nothing of a document reaches the next: windows are cut where the document token stands, and each "
                   "document begins at position 0 with empty states",
                   std::move(traits));
}

void SourceOptions::declare_readers(OptionSet& options, OptionTraits traits) {
  traits.absent_means = "";
  const auto with_value = [&](const char* value) {
    OptionTraits named = traits;
    named.value = value;
    return named;
  };
  options.add("field", field, "Of JSON: the field that holds the text", with_value("NAME"));
  options.add("column", column, "Of .csv and .tsv: the column that holds the text", with_value("NAME"));
  options.add("codebooks", codebooks, "Of codes in .safetensors and .npy: which codebooks, such as 0 or 0,1; all",
              with_value("LIST"));
  traits.absent_means = std::to_string(kCodebookSize);
  options.add("codebook-size", codebook_size, {1, kMostSymbols}, "Of codes: symbols of one codebook", traits);
}

void SourceOptions::declare_valid(OptionSet& options, OptionTraits traits) {
  traits.value = "SOURCE...|FRACTION|none";
  traits.absent_means = "";
  options.add_several("valid", valid, "Validation: sources of its own, or this part of the data (0.1), or none",
                      std::move(traits));
}

const std::vector<std::string>& SourceOptions::names() {
  static const std::vector<std::string> all{"valid", "field", "column", "codebooks", "codebook-size", "document-token"};
  return all;
}

void SourceOptions::take_stored(const std::map<std::string, std::string>& options) {
  const auto stored = [&](const char* name) {
    const auto found = options.find(name);
    return found == options.end() ? std::string() : found->second;
  };
  field = stored("field");
  column = stored("column");
  codebooks = stored("codebooks");
  document_token = stored("document-token");
  reset_state = stored("reset-state") == "true";
  codebook_size = mixgrad::parse_integer(stored("codebook-size")).value_or(kCodebookSize);
  valid = list_of_text("trainer.json: options.valid", stored("valid"));
}

std::vector<std::string> SourceOptions::absolute_sources(const std::vector<std::string>& sources) {
  std::vector<std::string> absolute;
  for (const std::string& source : sources) {
    if (source.empty()) {
      raise<ValueError>("--valid must name files or folders; got an empty text among them; check the quotes or the ",
                        "variable that it comes from");
    }
    std::string path = std::filesystem::absolute(source).string();
    std::error_code error;
    if (std::filesystem::is_directory(path, error) && !path.ends_with('/')) path += '/';
    absolute.push_back(path);
  }
  return absolute;
}

std::string SourceOptions::absolute_valid() const {
  return list_text(valid_choice().kind == ValidChoice::Kind::sources ? absolute_sources(valid) : valid);
}

ReaderOptions SourceOptions::reader_options() const {
  ReaderOptions options{.field = field, .column = column, .codebooks = {}, .codebook_size = codebook_size};
  if (codebooks.empty() || codebooks == "all") return options;
  for (std::size_t begin = 0; begin <= codebooks.size();) {
    const std::size_t end = std::min(codebooks.find(',', begin), codebooks.size());
    const auto book = mixgrad::parse_integer(std::string_view(codebooks).substr(begin, end - begin));
    if (!book || *book < 0 || *book > 1023) {
      raise<ValueError>("--codebooks must be numbers from 0 to 1023, such as 0,1, or all; got ", quote(codebooks),
                        "; correct it");
    }
    options.codebooks.push_back(*book);
    begin = end + 1;
  }
  return options;
}

ValidChoice SourceOptions::valid_choice() const {
  if (valid.empty()) return {};
  const auto fraction_of = [](const std::string& text) -> std::optional<double> {
    std::error_code error;
    return std::filesystem::exists(text, error) ? std::nullopt : parse_number<double>(text);
  };
  const auto is_word = [&](const std::string& text) { return text == "none" || fraction_of(text).has_value(); };
  if (valid.size() > 1) {
    const auto word = std::find_if(valid.begin(), valid.end(), is_word);
    if (word == valid.end()) return {.kind = ValidChoice::Kind::sources, .sources = valid};
    raise<ValueError>("--valid takes sources, one fraction, or none; got ", quote(*word), " among ", valid.size(),
                      " values; give one of the three");
  }
  if (valid[0] == "none") return {.kind = ValidChoice::Kind::none};
  const auto fraction = fraction_of(valid[0]);
  if (!fraction) return {.kind = ValidChoice::Kind::sources, .sources = valid};
  if (!(*fraction > 0 && *fraction < 1)) {
    raise<ValueError>("--valid: a fraction must be above 0 and below 1; got ", valid[0],
                      "; give such a fraction, sources, or none");
  }
  return {.kind = ValidChoice::Kind::fraction, .fraction = *fraction};
}

}  // namespace mixgrad::app
