// The bytes of a file or of stdin, exactly as they are.
#pragma once

#include <string>
#include <string_view>

#include "nn/files/file.h"

namespace mixgrad::app {

class InputBytes {
 public:
  // "-" is stdin; a pipe is read to its end. IoError, which begins with `what` where it is about one of these.
  InputBytes(const std::string& path, const std::string& what);

  std::string_view bytes() const { return file_.size() > 0 ? file_.text() : std::string_view(text_); }
  const std::string& name() const { return name_; }  // for errors
  // IoError when the file has become shorter: the end of what was read may be zeros then.
  void require_whole() const { file_.require_whole(); }

 private:
  std::string name_;
  MappedFile file_;
  std::string text_;
};

}  // namespace mixgrad::app
