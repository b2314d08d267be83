// Tables of text: a first row with the names of the columns, then rows whose field in the column --column is a
// document. .csv as RFC 4180 has it: fields between commas, in quotes where they hold commas, quotes (doubled) or line
// ends. .tsv as the media type text/tab-separated-values has it: fields between tabs, no quotes. Rows end with LF or CR
// LF.
#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/text/byte_order_mark.h"
#include "core/text/suggest.h"
#include "nn/data/readers/built_in_readers.h"

namespace mixgrad {
namespace {

struct TableForm {
  char separator;
  bool quotes;
};

// Reads field by field. A field without doubled quotes is a part of the content, any other is assembled.
class TableRows {
 public:
  TableRows(std::string_view content, TableForm form, const std::string& source)
      : content_(content), form_(form), source_(source) {}

  bool at_end() const { return at_ >= content_.size(); }
  bool row_ended() const { return row_ended_; }
  std::int64_t line() const { return line_; }  // where the next field begins, from 1

  // Valid until the next call. Not at_end(), unless the row has not ended (an empty last field).
  std::string_view next() {
    if (form_.quotes && at_ < content_.size() && content_[at_] == '"') return quoted();
    const std::size_t end =
        std::min(content_.find_first_of(form_.separator == ',' ? ",\n" : "\t\n", at_), content_.size());
    std::string_view field = content_.substr(at_, end - at_);
    const bool last = end == content_.size() || content_[end] == '\n';
    if (last && field.ends_with('\r')) field.remove_suffix(1);
    if (form_.quotes && field.find('"') != std::string_view::npos) {
      raise<FormatError>(source_, " line ", line_, ": a field with quotes must stand in quotes, with each of its own ",
                         "doubled; found ", quote(field), "; correct the file, or name a table with tabs .tsv");
    }
    finish(end);
    return field;
  }

 private:
  std::string_view quoted() {
    const std::int64_t first_line = line_;
    std::size_t from = at_ + 1;
    buffer_.clear();
    for (;;) {
      const std::size_t end = content_.find('"', from);
      if (end == std::string_view::npos) {
        raise<FormatError>(source_, " line ", first_line, ": a field that begins with a quote must end with one; the ",
                           "file ends within it; the file is truncated, or the quote must be doubled");
      }
      const std::string_view part = content_.substr(from, end - from);
      line_ += std::count(part.begin(), part.end(), '\n');
      const bool doubled = end + 1 < content_.size() && content_[end + 1] == '"';
      if (!doubled && buffer_.empty()) {
        close_quoted(end + 1);
        return part;
      }
      buffer_ += part;
      if (!doubled) {
        close_quoted(end + 1);
        return buffer_;
      }
      buffer_ += '"';
      from = end + 2;
    }
  }

  // What stands behind the closing quote: a separator or the end of the row.
  void close_quoted(std::size_t at) {
    if (content_.substr(at).starts_with("\r\n")) ++at;
    if (at < content_.size() && content_[at] != form_.separator && content_[at] != '\n') {
      raise<FormatError>(source_, " line ", line_,
                         ": behind a closing quote a comma or the end of the row is required; ", "found ",
                         quote(content_.substr(at, 1)), "; double the quotes within a field");
    }
    finish(at);
  }

  void finish(std::size_t end) {
    row_ended_ = end >= content_.size() || content_[end] == '\n';
    if (end < content_.size() && content_[end] == '\n') ++line_;
    at_ = end + 1;
  }

  std::string_view content_;
  TableForm form_;
  const std::string& source_;
  std::size_t at_ = 0;
  std::int64_t line_ = 1;
  bool row_ended_ = true;
  std::string buffer_;
};

std::vector<std::string> read_names(TableRows& rows, const std::string& source) {
  std::vector<std::string> names;
  if (rows.at_end()) {
    raise<FormatError>(source, ": a first row with the names of the columns is required; the file is empty; ",
                       "give a table");
  }
  do names.emplace_back(rows.next());
  while (!rows.row_ended());
  return names;
}

void read_table(std::string_view content, TableForm form, const std::string& source, const ReaderOptions& options,
                DocumentSink& sink) {
  TableRows rows(without_byte_order_mark(content), form, source);
  const std::vector<std::string> names = read_names(rows, source);
  const std::string columns = join(names);
  if (options.column.empty()) {
    raise<ValueError>(source, ": the column with the text is required; the file has the columns ", columns,
                      "; choose one with --column NAME");
  }
  const auto wanted = std::find(names.begin(), names.end(), options.column);
  if (wanted == names.end()) {
    raise<FormatError>(source, ": the column ", quote(options.column), " is required; the file has the columns ",
                       columns, "; ", did_you_mean(options.column, names), "choose one with --column NAME");
  }
  if (std::count(names.begin(), names.end(), options.column) > 1) {
    raise<FormatError>(source, ": the column ", quote(options.column), " must occur once; the file has it twice; ",
                       "rename one");
  }
  const auto column = static_cast<std::size_t>(wanted - names.begin());
  while (!rows.at_end()) {
    const std::int64_t line = rows.line();
    std::size_t fields = 0;
    bool blank = false;
    do {
      const std::string_view field = rows.next();
      blank = fields == 0 && field.empty() && rows.row_ended() && names.size() > 1;
      if (fields++ == column && !blank) sink.text(field);
    } while (!rows.row_ended());
    if (blank) continue;
    if (fields != names.size()) {
      raise<FormatError>(source, " line ", line, ": a row must have ", names.size(),
                         " fields, as the first row; it has ", fields, "; correct the row");
    }
    sink.end_document();
  }
}

}  // namespace

Reader built_in::csv_reader() {
  return {.name = "csv",
          .what = "a table with commas",
          .extensions = {".csv"},
          .recognises = nullptr,
          .read = [](auto content, const auto& source, const auto& options, auto& sink) {
            read_table(content, {.separator = ',', .quotes = true}, source, options, sink);
          }};
}
Reader built_in::tsv_reader() {
  return {.name = "tsv",
          .what = "a table with tabs",
          .extensions = {".tsv", ".tab"},
          .recognises = nullptr,
          .read = [](auto content, const auto& source, const auto& options, auto& sink) {
            read_table(content, {.separator = '\t', .quotes = false}, source, options, sink);
          }};
}

}  // namespace mixgrad
