// Lines that a person types: with line editing and history on a terminal, where the program was built with libedit
// (docs/building.md); as they are from a file or a pipe.
//
//   LineEditor editor;
//   std::string line;
//   while (editor.read(line) != LineEditor::Got::end) ...
#pragma once

#include <memory>
#include <string>

namespace mixgrad::app {

class LineEditor {
 public:
  LineEditor();
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  enum class Got : unsigned char {
    line,         // without its line end
    interrupted,  // Ctrl-C: what was typed is dropped
    end           // Ctrl-D, or the end of the file
  };
  // Shows "> " on a terminal.
  Got read(std::string& line);

 private:
  struct Editing;
  std::unique_ptr<Editing> editing_;  // null: lines are read as they are
  bool terminal_;
};

}  // namespace mixgrad::app
