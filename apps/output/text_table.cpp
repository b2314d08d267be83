#include "apps/output/text_table.h"

#include <algorithm>

namespace mixgrad::app {
namespace {

// Lines of at most `width` letters, cut at blanks where there are any; those after the first are indented.
std::vector<std::string> wrapped(const std::string& text, std::size_t width) {
  const std::string indent = "    ";
  std::vector<std::string> lines;
  std::string rest = text;
  while (rest.size() > width) {
    std::size_t cut = rest.rfind(' ', width);
    if (cut == std::string::npos || cut < indent.size()) cut = rest.find(' ', width);
    if (cut == std::string::npos) break;
    lines.push_back(rest.substr(0, cut));
    rest.replace(0, cut + 1, indent);
  }
  lines.push_back(rest);
  return lines;
}

}  // namespace

std::string TextTable::text() const {
  std::vector<std::size_t> widths;
  for (const Column& column : columns_) widths.push_back(column.title.size());
  std::vector<std::vector<std::string>> first_columns;
  for (const std::vector<std::string>& row : rows_) {
    first_columns.push_back(wrapped(row[0], wrap_));
    for (const std::string& line : first_columns.back()) widths[0] = std::max(widths[0], line.size());
    for (std::size_t c = 1; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string result;
  const auto add_line = [&](const auto& cell) {
    std::string line;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const std::string& word = cell(c);
      const std::string space(widths[c] - std::min(widths[c], word.size()), ' ');
      line += (c == 0 ? "" : "  ") + (columns_[c].number ? space + word : word + space);
    }
    result += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  };
  add_line([&](std::size_t c) -> const std::string& { return columns_[c].title; });
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    const std::vector<std::string>& lines = first_columns[r];
    add_line([&](std::size_t c) -> const std::string& { return c == 0 ? lines[0] : rows_[r][c]; });
    for (std::size_t i = 1; i < lines.size(); ++i) result += lines[i] + '\n';
  }
  return result;
}

}  // namespace mixgrad::app
