#include "core/context.h"

#include "core/error.h"

namespace mixgrad {
namespace {

constexpr Context kDefault;
thread_local const Context* t_context = &kDefault;

}  // namespace

const Context& context() { return *t_context; }

Context with_threads(int threads) {
  Context changed = context();
  changed.threads = threads;
  return changed;
}

ContextScope::ContextScope(const Context& context) : own_(context), outer_(t_context) {
  if (own_.threads < 0) {
    raise<ValueError>("threads: must be at least 1, or 0 for those of the scope around it, got ", own_.threads);
  }
  if (own_.threads == 0) own_.threads = outer_->threads;
  t_context = &own_;
}

ContextScope::~ContextScope() { t_context = outer_; }

}  // namespace mixgrad
