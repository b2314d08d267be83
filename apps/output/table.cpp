#include "apps/output/table.h"

#include <algorithm>
#include <cstdio>

#include "apps/output/json_line.h"
#include "core/error.h"

namespace mixgrad::app {
namespace {

using Texts = std::vector<std::string>;

// Lines of at most `width` letters, cut at blanks where there are any; those after the first are indented.
Texts wrapped(const std::string& text, std::size_t width) {
  const std::string indent = "    ";
  Texts lines;
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

// Columns two blanks apart; no blanks at the end of a line.
void print_line(const std::vector<TableColumn>& columns, const std::vector<std::size_t>& widths, const Texts& cells) {
  std::string line;
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const std::string space(widths[c] - std::min(widths[c], cells[c].size()), ' ');
    line += (c == 0 ? "" : "  ") + (columns[c].number ? space + cells[c] : cells[c] + space);
  }
  std::printf("%s\n", line.substr(0, line.find_last_not_of(' ') + 1).c_str());
}

std::string formatted(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string text_of(const TableCell& cell, const TableColumn& column) {
  if (!cell.text.empty()) return cell.text;
  if (cell.value.is_null()) return "-";
  if (cell.value.is_string()) return cell.value.get<std::string>();
  if (cell.value.is_number_float()) return formatted(column.format, cell.value.get<double>());
  return json_line(cell.value);
}

// A field of RFC 4180: in quotes where it has to be.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string csv_text(const TableCell& cell) {
  if (cell.value.is_null()) return "";
  return cell.value.is_string() ? cell.value.get<std::string>() : json_line(cell.value);
}

std::string markdown_text(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c == '\n' ? ' ' : c;
  }
  return escaped;
}

const std::vector<std::pair<std::string, Format>>& formats() {
  static const std::vector<std::pair<std::string, Format>> all{
      {"table", Format::text}, {"markdown", Format::markdown}, {"csv", Format::csv}, {"json", Format::json}};
  return all;
}

}  // namespace

const std::vector<std::string>& format_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const auto& [name, format] : formats()) all.push_back(name);
    return all;
  }();
  return names;
}

Format format_named(const std::string& name) {
  for (const auto& [known, format] : formats()) {
    if (known == name) return format;
  }
  raise<ValueError>("--format must be table, markdown, csv or json, got ", name);
}

Table::Table(Format format, std::vector<TableColumn> columns, std::size_t wrap)
    : format_(format), columns_(std::move(columns)), wrap_(wrap) {
  streams_ = format_ == Format::text && std::all_of(columns_.begin(), columns_.end(), [](const TableColumn& c) {
               return c.width > 0 || c.shown == ShownIn::json;
             });
}

void Table::add(const std::vector<TableCell>& row) {
  MIXGRAD_ASSERT(row.size() == columns_.size(), "a row has a cell for each column");
  if (format_ == Format::json) {
    nlohmann::ordered_json object;
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (columns_[c].shown != ShownIn::text) object[columns_[c].key] = row[c].value;
    }
    print_json(object);
    return;
  }
  rows_.push_back(texts_of(row));
  if (streams_) finish();
}

void Table::finish() {
  if (format_ == Format::json) return;
  std::vector<TableColumn> shown;
  for (const TableColumn& column : columns_) {
    if (shows(column)) shown.push_back(column);
  }
  if (format_ == Format::markdown) return print_markdown(shown);
  if (format_ == Format::csv) return print_csv(shown);
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < shown.size(); ++c) widths.push_back(std::max(shown[c].width, titles()[c].size()));
  std::vector<Texts> first_columns;
  for (const Texts& row : rows_) {
    first_columns.push_back(streams_ ? Texts{row[0]} : wrapped(row[0], wrap_));
    if (streams_) continue;
    for (const std::string& line : first_columns.back()) widths[0] = std::max(widths[0], line.size());
    for (std::size_t c = 1; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  if (!titles_printed_) print_line(shown, widths, titles());
  titles_printed_ = true;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    Texts cells = rows_[r];
    cells[0] = first_columns[r][0];
    print_line(shown, widths, cells);
    for (std::size_t i = 1; i < first_columns[r].size(); ++i) std::printf("%s\n", first_columns[r][i].c_str());
  }
  rows_.clear();
  std::fflush(stdout);
}

// CSV is for programs, as JSON is.
bool Table::shows(const TableColumn& column) const {
  return column.shown != (format_ == Format::csv ? ShownIn::text : ShownIn::json);
}

void Table::print_markdown(const std::vector<TableColumn>& shown) const {
  const auto print = [](const Texts& cells) {
    std::string line = "|";
    for (const std::string& cell : cells) line += " " + markdown_text(cell) + " |";
    std::printf("%s\n", line.c_str());
  };
  print(titles());
  std::string line = "|";
  for (const TableColumn& column : shown) line += column.number ? "---:|" : "---|";
  std::printf("%s\n", line.c_str());
  for (const Texts& row : rows_) print(row);
  std::fflush(stdout);
}

void Table::print_csv(const std::vector<TableColumn>& shown) const {
  const auto print = [](const Texts& cells) {
    std::string line;
    for (std::size_t c = 0; c < cells.size(); ++c) line += (c == 0 ? "" : ",") + csv_field(cells[c]);
    std::printf("%s\n", line.c_str());
  };
  Texts keys;
  for (const TableColumn& column : shown) keys.push_back(column.key);
  print(keys);
  for (const Texts& row : rows_) print(row);
  std::fflush(stdout);
}

Table::Texts Table::texts_of(const std::vector<TableCell>& row) const {
  Texts texts;
  for (std::size_t c = 0; c < row.size(); ++c) {
    if (!shows(columns_[c])) continue;
    texts.push_back(format_ == Format::csv ? csv_text(row[c]) : text_of(row[c], columns_[c]));
  }
  return texts;
}

Table::Texts Table::titles() const {
  Texts texts;
  for (const TableColumn& column : columns_) {
    if (shows(column)) texts.push_back(column.title.empty() ? column.key : column.title);
  }
  return texts;
}

void print_figures(Format format, const std::vector<Figure>& figures) {
  if (format == Format::json) {
    nlohmann::ordered_json object;
    for (const Figure& figure : figures) {
      if (figure.shown != ShownIn::text) object[figure.key] = figure.value;
    }
    print_json(object);
    return;
  }
  std::size_t label = 0;
  std::size_t text = 0;
  for (const Figure& figure : figures) {
    if (figure.shown == ShownIn::json) continue;
    label = std::max(label, figure.label.size());
    text = std::max(text, figure.text.size());
  }
  for (const Figure& figure : figures) {
    if (figure.shown == ShownIn::json) continue;
    const std::vector<TableColumn> columns{
        {.key = "label"}, {.key = "text", .number = figure.number}, {.key = "remark"}};
    print_line(columns, {label, text, 0}, {figure.label, figure.text, figure.remark});
  }
}

}  // namespace mixgrad::app
