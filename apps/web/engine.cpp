// What the page's worker calls: text goes in and out as UTF-8 in the memory of the module.
//
//   const at = exports.mixgrad_request(bytes.length);   // where the request is to be written
//   exports.mixgrad_answer();                           // then mixgrad_answer_begin(), mixgrad_answer_size()
#include <cstddef>
#include <exception>
#include <new>
#include <string>

#include "apps/web/session.h"

namespace {

using Json = mixgrad::app::Session::Json;

std::string g_request, g_answer;

mixgrad::app::Session& session() {
  static mixgrad::app::Session only;
  return only;
}

constexpr const char* kNoMemory =
    R"({"error": "memory: a page has at most 2 GiB; they are used up; take a smaller model, batch or text"})";

// A request that fails gives {"error": text, "model": whether there is a model afterwards}.
std::string answer_of(const std::string& request) {
  try {
    Json answer;
    try {
      answer = session().answer(Json::parse(request));
    } catch (const std::bad_alloc&) {
      return kNoMemory;
    } catch (const std::exception& error) {
      answer = {{"error", error.what()}, {"model", session().has_model()}};
    }
    return answer.dump(-1, ' ', false, Json::error_handler_t::replace);
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}

}  // namespace

extern "C" {

char* mixgrad_request(std::size_t bytes) {  // null when there is no memory for it
  try {
    g_request.assign(bytes, ' ');
    return g_request.data();
  } catch (const std::exception&) {
    return nullptr;
  }
}

void mixgrad_answer() {
  g_answer = answer_of(g_request);
  g_request = {};
}

const char* mixgrad_answer_begin() { return g_answer.data(); }
std::size_t mixgrad_answer_size() { return g_answer.size(); }

}  // extern "C"
