#include "apps/evaluation/token_report.h"

#include <cmath>
#include <cstdio>
#include <string>

#include "apps/output/json_line.h"

namespace mixgrad::app {

std::function<void(const TokenLoss&)> token_printer(const Tokenizer& tokenizer) {
  return [&tokenizer](const TokenLoss& token) {
    nlohmann::ordered_json loss = token.loss;
    if (!std::isfinite(token.loss)) loss = nullptr;  // the command ends with an error
    print_json(
        {{"index", token.index}, {"token", token.token}, {"text", tokenizer.piece(token.token)}, {"loss", loss}});
  };
}

void LossByPosition::print(Format format) const {
  const bool spans = format == Format::text || format == Format::markdown;
  Table table(format, {{.key = "position", .number = true},
                       {.key = "loss", .number = true, .format = "%.4f"},
                       {.key = "tokens", .number = true}});
  for (auto at = sums_.begin(); at != sums_.end();) {
    const std::int64_t first = at->first;
    std::int64_t end = spans ? 1 : first;  // of the span: the next power of two
    while (end < first) end *= 2;
    PartialSum all;
    std::int64_t last = first;
    for (; at != sums_.end() && at->first <= end; ++at) {
      all.sum += at->second.sum;
      all.count += at->second.count;
      last = at->first;
    }
    const std::string name = std::to_string(first) + (last > first ? "-" + std::to_string(last) : "");
    table.add({{first, name}, all.sum / static_cast<double>(all.count), all.count});
  }
  table.finish();
}

}  // namespace mixgrad::app
