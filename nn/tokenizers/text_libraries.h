// What a build without PCRE2 and utf8proc (MIXGRAD_TEXT_LIBRARIES=OFF, as in a browser) says where one of them is
// needed.
#pragma once

#include <string_view>

#include "core/error.h"

namespace mixgrad {

[[noreturn]] inline void raise_without_text_libraries(std::string_view what) {
  raise<ValueError>("tokenizer: PCRE2 and utf8proc are required for ", what,
                    "; this build has neither; take the tokenizer char or byte, or build with "
                    "-D MIXGRAD_TEXT_LIBRARIES=ON");
}

}  // namespace mixgrad
