// A table of text whose columns are as wide as what stands in them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace mixgrad::app {

class TextTable {
 public:
  // Text columns stand at the left of their column, numbers at the right.
  struct Column {
    std::string title;
    bool number = false;
  };
  // A first column that is longer than `wrap` is continued, indented, on lines of its own.
  explicit TextTable(std::vector<Column> columns, std::size_t wrap = 64) : columns_(std::move(columns)), wrap_(wrap) {}

  void add_row(const std::vector<std::string>& cells) { rows_.push_back(cells); }
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::size_t wrap_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace mixgrad::app
