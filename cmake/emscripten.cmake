# Toolchain of the preset web: Emscripten's own toolchain file, wherever em++ on the PATH keeps it (Debian: emscripten).
find_program(MIXGRAD_EM_CONFIG em-config)
if(NOT MIXGRAD_EM_CONFIG)
  message(FATAL_ERROR "preset web: Emscripten 3.1.6 or newer is required; there is no em-config on the PATH. On Debian: "
                      "apt-get install emscripten")
endif()
execute_process(COMMAND ${MIXGRAD_EM_CONFIG} EMSCRIPTEN_ROOT OUTPUT_VARIABLE MIXGRAD_EMSCRIPTEN_ROOT
                OUTPUT_STRIP_TRAILING_WHITESPACE)
include(${MIXGRAD_EMSCRIPTEN_ROOT}/cmake/Modules/Platform/Emscripten.cmake)
