#include "apps/output/json_line.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace mixgrad::app {

std::string json_line(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void print_json(const nlohmann::ordered_json& object) { std::printf("%s\n", json_line(object).c_str()); }

}  // namespace mixgrad::app
