// The text of a file or of stdin: its bytes as they are, but for the one byte order mark that it may begin with.
#pragma once

#include <string>
#include <string_view>

#include "core/text/byte_order_mark.h"
#include "nn/files/file.h"

namespace mixgrad::app {

class InputBytes {
 public:
  // "-" is stdin; a pipe is read to its end. IoError, which begins with `what` where it is about one of these;
  // ValueError for an empty path.
  InputBytes(const std::string& path, const std::string& what);

  std::string_view text() const {
    return without_byte_order_mark(file_.size() > 0 ? file_.text() : std::string_view(text_));
  }
  const std::string& name() const { return name_; }  // for errors
  // IoError when the file has become shorter: the end of what was read may be zeros then.
  void require_whole() const { file_.require_whole(); }

 private:
  std::string name_;
  MappedFile file_;
  std::string text_;
};

}  // namespace mixgrad::app
