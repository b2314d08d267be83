#include "apps/generation/speed.h"

#include <cstdio>

#include "apps/output/clock.h"
#include "apps/output/error_line.h"
#include "core/text/plural.h"

namespace mixgrad::app {

void Speed::begin() { began_ = now(); }

void Speed::end() {
  if (began_ >= 0) seconds_ += now() - began_;
  began_ = -1;
}

void Speed::say_it() {
  end();
  if (tokens_ == 0) return;
  char text[64];
  std::snprintf(text, sizeof text, " in %.2f s, %.0f tokens a second", seconds_,
                seconds_ > 0 ? static_cast<double>(tokens_) / seconds_ : 0.0);
  say(count_text(tokens_, "token") + text);
}

}  // namespace mixgrad::app
