# PCRE2 and utf8proc of the system, as the targets PCRE2::8BIT and utf8proc::utf8proc. The library's build and, because
# libmixgrad.a holds calls of both, every project that links it read this file. What is not found stays undefined.
function(mixgrad_find_text_library target header library)
  if(TARGET ${target})
    return()
  endif()
  string(MAKE_C_IDENTIFIER MIXGRAD_${library} name)
  string(TOUPPER ${name} name)
  find_path(${name}_INCLUDE ${header})
  find_library(${name}_LIBRARY ${library})
  mark_as_advanced(${name}_INCLUDE ${name}_LIBRARY)
  if(${name}_INCLUDE AND ${name}_LIBRARY)
    add_library(${target} UNKNOWN IMPORTED GLOBAL)
    set_target_properties(${target} PROPERTIES IMPORTED_LOCATION "${${name}_LIBRARY}"
                          INTERFACE_INCLUDE_DIRECTORIES "${${name}_INCLUDE}")
  endif()
endfunction()

mixgrad_find_text_library(PCRE2::8BIT pcre2.h pcre2-8)
mixgrad_find_text_library(utf8proc::utf8proc utf8proc.h utf8proc)
