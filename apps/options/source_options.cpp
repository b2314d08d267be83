#include "apps/options/source_options.h"

#include <algorithm>
#include <filesystem>

#include "apps/options/option_value.h"
#include "core/error.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"

namespace mixgrad::app {
namespace {

constexpr std::int64_t kMostSymbols = std::int64_t{1} << 24U;

}  // namespace

void SourceOptions::declare(OptionSet& options, const OptionTraits& traits) {
  const auto with_value = [&](const char* value) {
    OptionTraits named = traits;
    named.value = value;
    return named;
  };
  options.add("field", field, "Of JSON: the field that holds the text", with_value("NAME"));
  options.add("column", column, "Of .csv and .tsv: the column that holds the text", with_value("NAME"));
  options.add("codebooks", codebooks, "Of codes in .safetensors and .npy: which codebooks, such as 0 or 0,1; all",
              with_value("LIST"));
  options.add("codebook-size", codebook_size, {1, kMostSymbols}, "Of codes: symbols of one codebook", traits);
}

void SourceOptions::declare_valid(OptionSet& options, OptionTraits traits) {
  traits.value = "SOURCE...|FRACTION|none";
  options.add_several("valid", valid, "Validation: sources of its own, or this part of the data (0.1), or none",
                      std::move(traits));
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
    if (word == valid.end()) return {.kind = ValidChoice::Kind::sources};
    raise<ValueError>("--valid takes sources, one fraction, or none; got ", quote(*word), " among ", valid.size(),
                      " values; give one of the three");
  }
  if (valid[0] == "none") return {.kind = ValidChoice::Kind::none};
  const auto fraction = fraction_of(valid[0]);
  if (!fraction) return {.kind = ValidChoice::Kind::sources};
  if (!(*fraction > 0 && *fraction < 1)) {
    raise<ValueError>("--valid: a fraction must be above 0 and below 1; got ", valid[0],
                      "; give such a fraction, sources, or none");
  }
  return {.kind = ValidChoice::Kind::fraction, .fraction = *fraction};
}

}  // namespace mixgrad::app
