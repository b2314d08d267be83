#include "apps/generation/line_editor.h"

#include <langinfo.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <string_view>

#include "apps/output/terminal.h"
#include "apps/process/interrupt_key.h"
#include "core/system/interrupt.h"

#if MIXGRAD_LIBEDIT
#include <histedit.h>
#endif

namespace mixgrad::app {

#if MIXGRAD_LIBEDIT

struct LineEditor::Editing {
  EditLine* editor = nullptr;
  History* history = nullptr;
  HistEvent event{};

  Editing() {
    // libedit takes the bytes apart by the locale; a terminal today sends UTF-8.
    std::setlocale(LC_CTYPE, "");  // NOLINT(concurrency-mt-unsafe)
    if (std::string_view(::nl_langinfo(CODESET)) != "UTF-8")
      std::setlocale(LC_CTYPE, "C.UTF-8");  // NOLINT(concurrency-mt-unsafe)
    history = ::history_init();
    ::history(history, &event, H_SETSIZE, 1000);
    ::history(history, &event, H_SETUNIQUE, 1);
    editor = ::el_init("mixgrad", stdin, stdout, stderr);
    ::el_set(editor, EL_EDITOR, "emacs");
    ::el_set(editor, EL_SIGNAL, 0);
    ::el_set(
        editor, EL_PROMPT, +[](EditLine*) { return const_cast<char*>("> "); });
    ::el_set(editor, EL_HIST, ::history, history);
    // A Ctrl-D that was typed while the terminal was not in libedit's hands comes as a zero byte.
    ::el_set(editor, EL_BIND, "^@", "em-delete-or-list", nullptr);
    ::el_source(editor, nullptr);  // the user's ~/.editrc
  }
  ~Editing() {
    ::el_end(editor);
    ::history_end(history);
  }

  Got read(std::string& line) {
    int count = 0;
    const char* got = ::el_gets(editor, &count);
    if (got == nullptr || count <= 0) return interrupt_requested() != 0 ? Got::interrupted : Got::end;
    line.assign(got, static_cast<std::size_t>(count));
    if (line.find_first_not_of(" \t\n") != std::string::npos) ::history(history, &event, H_ENTER, got);
    return Got::line;
  }
};

#else

struct LineEditor::Editing {
  static Got read(std::string&) { return Got::end; }
};

#endif

namespace {

// A line with its line end, if it has one; false at the end of the file, or when the read was interrupted.
bool read_plain_line(std::string& line) {
  line.clear();
  for (int c = 0; (c = std::fgetc(stdin)) != EOF;) {
    line += static_cast<char>(c);
    if (c == '\n') return true;
  }
  return !line.empty() && interrupt_requested() == 0;
}

}  // namespace

LineEditor::LineEditor() : terminal_(::isatty(STDIN_FILENO) == 1) {
#if MIXGRAD_LIBEDIT
  if (terminal_ && rewrites_lines(STDOUT_FILENO)) editing_ = std::make_unique<Editing>();
#endif
}

LineEditor::~LineEditor() = default;

LineEditor::Got LineEditor::read(std::string& line) {
  clear_interrupt();
  const InterruptKeyScope reading(Waiting::ends);
  Got got = Got::line;
  if (editing_) {
    got = editing_->read(line);
  } else {
    if (terminal_) std::fputs("> ", stdout);
    std::fflush(stdout);
    if (!read_plain_line(line)) {
      got = interrupt_requested() != 0 ? Got::interrupted : Got::end;
      std::clearerr(stdin);
    }
  }
  if (got != Got::line && terminal_) std::fputs("\n", stdout);
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  return got;
}

}  // namespace mixgrad::app
