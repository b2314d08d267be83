#include "nn/distributed/agreement.h"

#include <algorithm>

#include "core/system/interrupt.h"

namespace mixgrad {
namespace {

constexpr char kBetween = '\0';  // in what is sent: no name and no value holds it

std::vector<std::string> cut(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find(kBetween, begin);
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// Of two lists NAME VALUE NAME VALUE ...
void compare(const std::vector<std::string>& first, const std::vector<std::string>& other, std::size_t rank) {
  const auto value = [](const std::vector<std::string>& list, std::size_t i) {
    return i < list.size() ? list[i] : "nothing";
  };
  for (std::size_t i = 0; i < std::max(first.size(), other.size()); i += 2) {
    if (value(first, i) == value(other, i) && value(first, i + 1) == value(other, i + 1)) continue;
    raise<ValueError>("rank ", rank, ": ", value(i < first.size() ? first : other, i), " must be that of rank 0, ",
                      value(first, i + 1), "; got ", value(other, i + 1),
                      "; start every rank with the same program, options and data");
  }
}

}  // namespace

void require_same(Communicator& ranks, const Facts& facts) {
  if (ranks.alone()) return;
  std::string own;
  for (const auto& [name, value] : facts) {
    for (const std::string& part : {name, value}) (own += part) += kBetween;
  }
  const std::vector<std::string> all = ranks.gather(own);
  const std::vector<std::string> first = cut(all[0]);
  for (std::size_t rank = 1; rank < all.size(); ++rank) compare(first, cut(all[rank]), rank);
}

int agreed_interrupt(Communicator* ranks, int own) { return ranks == nullptr ? own : ranks->largest(own); }

void check_interrupt_of(Communicator* ranks) {
  const int signal = agreed_interrupt(ranks, interrupt_requested());
  if (signal != 0) throw Interrupted{signal};
}

}  // namespace mixgrad
