// HashHop (Magic, 2024): lines that link hashes to chains, shuffled; the question names a hash and a number of hops,
// the answer is the hash that many links further. With cot=true (chain of thought) the hashes between are said as well.
//   Qkcb = wZXt        chain Qkcb -> wZXt -> pyFn, one of `chains`
//   wZXt = pyFn
//   2 Qkcb = pyFn      the question and its answer; with cot=true:   2 Qkcb = wZXt = pyFn
// A hash is `letters` letters of A-Z and a-z; all hashes of a sequence differ. A chain has `hops` links, and a question
// asks for 1 ... `hops` of them, each equally often, from a hash of any chain from which there are so many. The answer
// ends with a line end, which is a target too; what is left of the sequence is filled with line ends without target.
// Tokens are characters: the line end, the space, 1 ... 6, '=' and the letters, in the order of their codes.
#include <algorithm>
#include <set>
#include <string>

#include "core/error.h"
#include "nn/data/tasks/task.h"
#include "nn/tokenizers/char_tokenizer.h"

namespace mixgrad {
namespace {

constexpr std::string_view kAlphabet = "\n 123456=ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::size_t kFirstLetter = 9;
constexpr std::int64_t kLetters = 52;

class HashHop final : public Task {
 public:
  HashHop(std::int64_t hops, std::int64_t chains, std::int64_t letters, bool thoughts)
      : hops_(hops), chains_(chains), letters_(letters), thoughts_(thoughts) {}

  std::int64_t length() const override {
    const std::int64_t line = 2 * letters_ + 4;
    const std::int64_t answer = (thoughts_ ? hops_ * letters_ + 3 * (hops_ - 1) : letters_) + 1;
    return chains_ * hops_ * line + letters_ + 5 + answer - 1;
  }
  std::int64_t vocabulary() const override { return static_cast<std::int64_t>(kAlphabet.size()); }
  TokenizerPtr tokenizer() const override { return char_tokenizer(kAlphabet, "hashhop"); }

 private:
  std::string draw_hash(Rng& rng) const {
    std::string hash;
    for (std::int64_t i = 0; i < letters_; ++i) hash += kAlphabet[kFirstLetter + rng.below(kLetters)];
    return hash;
  }

  // The hashes of all chains, one chain after another, hops + 1 each.
  std::vector<std::string> draw_hashes(Rng& rng) const {
    std::vector<std::string> hashes;
    std::set<std::string> known;
    while (static_cast<std::int64_t>(hashes.size()) < chains_ * (hops_ + 1)) {
      const std::string hash = draw_hash(rng);
      if (known.insert(hash).second) hashes.push_back(hash);
    }
    return hashes;
  }

  void generate(Rng& rng, TaskSequence& out) const override {
    const std::vector<std::string> hashes = draw_hashes(rng);
    std::vector<std::int32_t> order;
    draw_distinct(rng, chains_ * hops_, 0, chains_ * hops_, out, order);
    const auto asked = static_cast<std::int64_t>(1 + rng.below(static_cast<std::uint64_t>(hops_)));
    const auto chain = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(chains_)));
    const auto start = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(hops_ - asked + 1)));
    const auto hash = [&](std::int64_t of_chain, std::int64_t link) -> const std::string& {
      return hashes[static_cast<std::size_t>(of_chain * (hops_ + 1) + link)];
    };
    std::string text;
    std::size_t source = 0;  // where the last letter of the answer's hash stands in the lines
    for (const std::int32_t link : order) {
      const std::int64_t of_chain = link / hops_;
      const std::int64_t from = link % hops_;
      text += hash(of_chain, from) + " = " + hash(of_chain, from + 1);
      if (of_chain == chain && from + 1 == start + asked) source = text.size() - 1;
      text += "\n";
    }
    text += std::to_string(asked) + " " + hash(chain, start) + " = ";
    const std::size_t begin = text.size();
    for (std::int64_t hop = thoughts_ ? 1 : asked; hop <= asked; ++hop) {
      text += hash(chain, start + hop) + (hop < asked ? " = " : "\n");
    }
    write(text, begin, out);
    const auto position = static_cast<std::int64_t>(begin - 1);
    const auto tokens = static_cast<std::int64_t>(text.size() - begin);
    // The last letter is produced two positions before the end of the text: at the letter, or blank, ahead of it.
    const auto produced = static_cast<std::int64_t>(text.size() - 3);
    out.answers.push_back({.position = position,
                           .tokens = tokens,
                           .distance = produced - static_cast<std::int64_t>(source),
                           .hops = asked});
  }

  // Characters [begin, end) of the text are the answer.
  static void write(const std::string& text, std::size_t begin, TaskSequence& out) {
    const auto id = [&](std::size_t at) {
      return at < text.size() ? static_cast<std::int32_t>(kAlphabet.find(text[at])) : 0;
    };
    for (std::size_t t = 0; t < out.tokens.size(); ++t) {
      out.tokens[t] = id(t);
      if (t + 1 >= begin && t + 1 < text.size()) out.targets[t] = id(t + 1);
    }
  }

  std::int64_t hops_, chains_, letters_;
  bool thoughts_;
};

std::unique_ptr<Task> make_hashhop(const TaskValues& values) {
  const std::int64_t hops = values.at("hops");
  const std::int64_t chains = values.at("chains");
  const std::int64_t letters = values.at("letters");
  std::int64_t hashes = 1;
  for (std::int64_t i = 0; i < letters; ++i) hashes *= kLetters;
  if (chains * (hops + 1) > hashes / 2) {
    raise<ValueError>("task: hashhop chains * (hops + 1) must be at most ", hashes / 2, ", half of the hashes of ",
                      letters, " letters; got ", chains * (hops + 1), "; give more letters or fewer chains");
  }
  return std::make_unique<HashHop>(hops, chains, letters, values.at("cot") != 0);
}

}  // namespace

TaskKind hashhop_task() {
  return {
      .summary = "follow a chain of hashes over shuffled lines",
      .options = {{.name = "hops", .value = 2, .low = 1, .high = 6, .help = "links of a chain, and most hops asked"},
                  {.name = "chains", .value = 4, .low = 1, .high = 1000, .help = "chains of hops links each"},
                  {.name = "letters", .value = 4, .low = 1, .high = 10, .help = "letters of a hash"},
                  {.name = "cot",
                   .value = 0,
                   .help = "chain of thought: the answer has the hashes between as well",
                   .kind = TaskOption::Kind::truth}},
      .make = make_hashhop};
}

}  // namespace mixgrad
