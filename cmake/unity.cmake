# unity_sources(RESULT NAME SOURCES...) sets RESULT to SOURCES; with MIXGRAD_UNITY, to files that include six of them each,
# whose headers and templates are then compiled once and not six times: half the time for these. A name that two
# files of a folder define for themselves must then differ. CMake's own UNITY_BUILD writes absolute paths, so that a cache
# of compilations (ccache) would know none of them in another checkout.
function(unity_sources result name)
  if(NOT MIXGRAD_UNITY)
    set(${result} ${ARGN} PARENT_SCOPE)
    return()
  endif()
  set(units "")
  while(ARGN)
    list(LENGTH units number)
    set(unit ${CMAKE_BINARY_DIR}/unity/${name}_${number}.cpp)
    set(content "")
    foreach(i RANGE 1 6)
      list(POP_FRONT ARGN source)
      if(source)
        cmake_path(ABSOLUTE_PATH source)
        cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${CMAKE_SOURCE_DIR})
        string(APPEND content "#include \"${source}\"\n")
      endif()
    endforeach()
    file(CONFIGURE OUTPUT ${unit} CONTENT "${content}" @ONLY)  # touches no file that would not change
    list(APPEND units ${unit})
  endwhile()
  set(${result} ${units} PARENT_SCOPE)
endfunction()
