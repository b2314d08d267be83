// Results of a verb, for people or for programs: each is described once and printed as a table or as JSON (--json).
//
//   Table table(Format::json, {{.key = "lag", .number = true}, {.key = "weight", .format = "%.6f"}});
//   table.add({3, 0.25});                 // {"lag":3,"weight":0.250000}
//   table.finish();
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace mixgrad::app {

enum class Format : std::uint8_t { text, json, markdown, csv };
inline Format format_of(bool json) { return json ? Format::json : Format::text; }

// The values of --format: table, markdown, csv, json.
const std::vector<std::string>& format_names();
// ValueError for another name.
Format format_named(const std::string& name);

// A value; by default its text follows from the column: strings as they are, numbers in its format, null as "-".
struct TableCell {
  nlohmann::ordered_json value;
  std::string text;  // "" = from the value

  template <class T, class = std::enable_if_t<!std::is_same_v<std::remove_cvref_t<T>, TableCell>>>
  TableCell(T&& shown) : value(std::forward<T>(shown)) {}  // NOLINT: a cell is made from any value
  TableCell(nlohmann::ordered_json machine, std::string people) : value(std::move(machine)), text(std::move(people)) {}
};

// Which of the two forms has a column.
enum class ShownIn : std::uint8_t { both, text, json };

struct TableColumn {
  std::string key;            // in JSON
  std::string title = {};     // in the table; "" = the key
  bool number = false;        // at the right of its column
  const char* format = "%g";  // of numbers that are not whole
  std::size_t width = 0;      // at least
  ShownIn shown = ShownIn::both;
};

// Rows of one kind: a table (for a terminal, or of Markdown), comma-separated values with the keys in the first line
// (RFC 4180; values as JSON has them, null as nothing), or one JSON object a line. JSON is printed row by row. The
// table is printed row by row when every column has a width, so that a slow verb shows its rows as they come, and
// otherwise by finish().
class Table {
 public:
  // A first column that is longer than `wrap` continues, indented, on lines of its own (only with finish()).
  Table(Format format, std::vector<TableColumn> columns, std::size_t wrap = 64);

  void add(const std::vector<TableCell>& row);  // one cell for each column
  void finish();                                // prints what was not printed yet; a table without rows is its titles

 private:
  using Texts = std::vector<std::string>;

  Texts texts_of(const std::vector<TableCell>& row) const;
  Texts titles() const;
  bool shows(const TableColumn& column) const;
  void print_markdown(const std::vector<TableColumn>& shown) const;
  void print_csv(const std::vector<TableColumn>& shown) const;

  Format format_;
  std::vector<TableColumn> columns_;
  std::size_t wrap_;
  bool streams_;
  bool titles_printed_ = false;
  std::vector<Texts> rows_;  // of a table that does not stream
};

// One thing with several figures: a line for each, or one JSON object.
struct Figure {
  std::string key;
  nlohmann::ordered_json value;
  std::string label, text, remark = {};  // in the table
  bool number = true;                    // the texts stand at the right
  ShownIn shown = ShownIn::both;
};
void print_figures(Format format, const std::vector<Figure>& figures);

}  // namespace mixgrad::app
