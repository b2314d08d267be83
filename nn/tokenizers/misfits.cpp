#include "nn/tokenizers/misfits.h"

#include <algorithm>
#include <unordered_map>

#include "core/error.h"
#include "core/text/plural.h"
#include "core/text/utf8.h"

namespace mixgrad {
namespace {

constexpr std::size_t kListed = 10;  // kinds; a text in another script has hundreds
constexpr std::size_t kStretch = std::size_t{1} << 20U;

std::string position_text(const TextPosition& at) {
  return "at line " + std::to_string(at.line) + ", column " + std::to_string(at.column) + " (byte " +
         std::to_string(at.byte) + ")";
}

// Collects the misfits of a text while it is read.
class MisfitCounter {
 public:
  // The character that begins at at().
  void next(char32_t code, std::size_t bytes, bool known) {
    if (!known) add(code);
    at_.byte += bytes;
    ++at_.column;
    if (code == U'\n') {
      ++at_.line;
      at_.column = 1;
    }
  }
  const TextPosition& at() const { return at_; }
  Misfits finish() {
    std::sort(misfits_.kinds.begin(), misfits_.kinds.end(), [](const Misfits::Kind& a, const Misfits::Kind& b) {
      return a.count != b.count ? a.count > b.count : a.first.byte < b.first.byte;
    });
    return std::move(misfits_);
  }

 private:
  void add(char32_t code) {
    const auto [found, added] = kind_of_.emplace(code, misfits_.kinds.size());
    if (added) misfits_.kinds.push_back({.code = code, .count = 0, .first = at_});
    ++misfits_.kinds[found->second].count;
    ++misfits_.count;
  }

  TextPosition at_;
  Misfits misfits_;
  std::unordered_map<char32_t, std::size_t> kind_of_;  // index in misfits_.kinds
};

}  // namespace

std::string Misfits::list() const {
  std::string text;
  std::int64_t listed = 0;
  for (std::size_t i = 0; i < std::min(kinds.size(), kListed); ++i) {
    const Kind& kind = kinds[i];
    listed += kind.count;
    text += (i == 0 ? "" : "; ") + show_code_point(kind.code) + " ";
    if (kind.count > 1) text += count_text(kind.count, "time") + ", first ";
    text += position_text(kind.first);
  }
  if (kinds.size() > kListed) {
    const auto more = static_cast<std::int64_t>(kinds.size() - kListed);
    text += "; and " + count_text(count - listed, "character") + " of " + count_text(more, "other kind");
  }
  return text;
}

FittedText fit_text(std::string_view text, const Tokenizer& tokenizer, const UnknownRule& rule,
                    const std::string& source, const std::function<void(std::size_t bytes)>& progress) {
  using Action = UnknownRule::Action;
  if (rule.action == Action::replace && !tokenizer.has_character(rule.replacement)) {
    raise<ValueError>(source, ": what replaces unknown characters must be in the vocabulary; got ",
                      show_code_point(rule.replacement), "; choose another character");
  }
  const std::string replacement = rule.action == Action::replace ? utf8_bytes(rule.replacement) : std::string();
  FittedText fitted;
  bool copies = false;  // from the first misfit on
  MisfitCounter counter;
  std::size_t next_progress = kStretch;
  for (std::size_t offset = 0; offset < text.size();) {
    const std::size_t begin = offset;
    const std::int32_t code = next_code_point(text, offset);
    if (code < 0) raise_not_utf8(text, begin, source, "a vocabulary of characters");
    const bool known = tokenizer.has_character(static_cast<char32_t>(code));
    if (!known && rule.action == Action::refuse) raise_misfits(text, tokenizer, source);
    if (!known && !copies) fitted.text = text.substr(0, begin);
    copies = copies || !known;
    if (copies) fitted.text += known ? text.substr(begin, offset - begin) : std::string_view(replacement);
    counter.next(static_cast<char32_t>(code), offset - begin, known);
    if (progress && offset >= next_progress) {
      progress(offset);
      next_progress = offset + kStretch;
    }
  }
  fitted.misfits = counter.finish();
  return fitted;
}

void raise_misfits(std::string_view text, const Tokenizer& tokenizer, const std::string& source) {
  MisfitCounter counter;
  std::size_t offset = 0;
  while (offset < text.size()) {
    const std::size_t begin = offset;
    const std::int32_t code = next_code_point(text, offset);
    if (code < 0) break;
    counter.next(static_cast<char32_t>(code), offset - begin, tokenizer.has_character(static_cast<char32_t>(code)));
  }
  const std::string rest =
      offset < text.size() ? "; from byte " + std::to_string(offset) + " on it is not UTF-8" : std::string();
  const Misfits misfits = counter.finish();
  const std::string others = misfits.kinds.size() == 1
                                 ? std::string()
                                 : std::to_string(misfits.count) + " others of " +
                                       count_text(static_cast<std::int64_t>(misfits.kinds.size()), "kind") + ": ";
  raise<MisfitError>(source, ": every character must be one of the ", tokenizer.vocab_size(),
                     " of the vocabulary; found ", others, misfits.list(), rest,
                     "; leave them out, or use a model with the byte tokenizer");
}

void raise_not_utf8(std::string_view text, std::size_t offset, const std::string& source, const std::string& reader) {
  const auto lines = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n');
  raise<FormatError>(source, ": ", reader, " needs UTF-8 text; an invalid sequence begins at byte ", offset, " (line ",
                     lines + 1, "); the byte tokenizer takes any text");
}

}  // namespace mixgrad
