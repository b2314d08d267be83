#include "nn/data/writers/writer.h"

#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/data/writers/built_in_writers.h"

namespace mixgrad {

void Writer::require_fit(const std::string& file, const Tokenizer& tokenizer) const {
  const bool of_text = takes == Reader::Yields::text;
  const std::int64_t size = tokenizer.vocab_size();
  const bool fits =
      of_text == tokenizer.is_text() && (of_text || (size >= smallest_vocabulary && size <= largest_vocabulary));
  if (fits) return;
  std::string needed = "a model of text";
  if (!of_text) {
    const std::string least = smallest_vocabulary < largest_vocabulary ? "up to " : "";
    needed = "a model of " + least + std::to_string(largest_vocabulary) + " token ids";
  }
  raise<ValueError>(file, ": ", what, " needs ", needed, ", such as one that was trained on ", join(extensions),
                    "; this one is of ", size, tokenizer.is_text() ? " tokens of text" : " token ids",
                    "; give a file of another kind, or leave it out");
}

const std::vector<Writer>& writers() {
  static const std::vector<Writer> all = [] {
    std::vector<Writer> list;
#define WRITER(kind)                         \
  list.push_back(built_in::kind##_writer()); \
  MIXGRAD_ASSERT(list.back().name == #kind, "a writer has the name that writers.def gives it");
#include "nn/data/writers/writers.def"
#undef WRITER
    return list;
  }();
  return all;
}

const Writer* find_writer(std::string_view file_name) {
  const auto lower = [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); };
  std::string name(file_name);
  std::transform(name.begin(), name.end(), name.begin(), lower);
  for (const Writer& writer : writers()) {
    for (const std::string& extension : writer.extensions) {
      if (name.size() > extension.size() && name.ends_with(extension)) return &writer;
    }
  }
  return nullptr;
}

std::string writer_extensions() {
  std::vector<std::string> all;
  for (const Writer& writer : writers()) all.insert(all.end(), writer.extensions.begin(), writer.extensions.end());
  return join(all);
}

}  // namespace mixgrad
