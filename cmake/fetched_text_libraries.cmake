# PCRE2 and utf8proc, where the system lacks them: fetched and compiled into libmixgrad.a (dependencies.cmake).
if(NOT TARGET PCRE2::8BIT OR NOT TARGET utf8proc::utf8proc)
  enable_language(C)
endif()
# The C files of each, as their own instructions for a build by hand list them.
mixgrad_fetch_compiled(utf8proc::utf8proc libutf8proc-dev https://github.com/JuliaStrings/utf8proc.git
                       1cb28a66ca79a0845e99433fd1056257456cef8b . utf8proc.c)  # 2.8.0
if(TARGET libutf8proc_dev_objects)
  target_compile_definitions(libutf8proc_dev_objects PRIVATE UTF8PROC_STATIC)
  target_compile_definitions(libutf8proc_dev INTERFACE UTF8PROC_STATIC)
endif()
set(pcre2_files auto_possess chartables compile config context convert dfa_match error extuni find_bracket jit_compile maketables
                match match_data newline ord2utf pattern_info script_run serialize string_utils study substitute substring tables
                ucd valid_utf xclass)
list(TRANSFORM pcre2_files REPLACE "(.+)" "pcre2_\\1.c")
mixgrad_fetch_compiled(PCRE2::8BIT libpcre2-dev https://github.com/PCRE2Project/pcre2.git
                       52c08847921a324c804cabf2814549f50bce1265 src ${pcre2_files})  # 10.42
if(TARGET libpcre2_dev_objects)
  # The repository has the generated files under other names; releases and `configure` rename them.
  get_target_property(pcre2_source libpcre2_dev_objects INCLUDE_DIRECTORIES)
  foreach(file config.h:config.h.generic pcre2.h:pcre2.h.generic pcre2_chartables.c:pcre2_chartables.c.dist)
    string(REPLACE ":" ";" file ${file})
    list(GET file 0 to)
    list(GET file 1 from)
    if(NOT EXISTS ${pcre2_source}/${to})
      configure_file(${pcre2_source}/${from} ${pcre2_source}/${to} COPYONLY)
    endif()
  endforeach()
  target_compile_definitions(libpcre2_dev_objects PRIVATE
    HAVE_CONFIG_H PCRE2_CODE_UNIT_WIDTH=8 PCRE2_STATIC SUPPORT_PCRE2_8 SUPPORT_UNICODE SUPPORT_JIT HAVE_MEMMOVE HAVE_STDLIB_H
    HAVE_STDINT_H HAVE_STRING_H HAVE_LIMITS_H HAVE_UNISTD_H HAVE_INTTYPES_H)
  target_compile_definitions(libpcre2_dev INTERFACE PCRE2_STATIC)
endif()
