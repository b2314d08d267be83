# How the folders hand their files to the targets.
#
#   mixgrad_add_sources(TARGET)              in a folder's CMakeLists.txt: every .cpp of this folder, and every .cu if CUDA is built
#   mixgrad_add_sources(TARGET COLD a.cpp)   of these files, a.cpp is code that no training step waits for
#   mixgrad_add_sources(TARGET ALONE)        each file is compiled alone, also with MIXGRAD_UNITY
#   mixgrad_finish_sources(TARGET)           beside add_library or add_executable, after the folders
#   mixgrad_names_of_list(NAMES list.def RE) sets NAMES to what the first group of RE matches in the lines of a list, each once
#   mixgrad_require_files("names" ENDING list.def)   an error unless this folder has NAME ENDING for each of these names
#   mixgrad_check_files("names" list.def)    an error unless the .cpp files of this folder are NAME.cpp for exactly these names
#
# With MIXGRAD_UNITY twelve files are compiled as one, whose headers and templates are then read once and not twelve times: less than
# half the time (19 per cent less than six at a time). A name that two such files define for themselves must then differ. CMake's own UNITY_BUILD writes absolute
# paths, so that a cache of compilations (ccache) would find none of them in another checkout.

# Code that no training step waits for, and templates of CLI11 and JSON that would only take longer to compile.
set(mixgrad_cold_code $<IF:$<BOOL:${MIXGRAD_SANITIZE}>,-O0,-O1>)

function(mixgrad_add_sources target)
  cmake_parse_arguments(PARSE_ARGV 1 given "ALONE" "" "COLD")
  file(GLOB all CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  foreach(name IN LISTS given_COLD)
    set(path ${CMAKE_CURRENT_SOURCE_DIR}/${name})
    if(NOT path IN_LIST all)
      message(FATAL_ERROR "${CMAKE_CURRENT_SOURCE_DIR}/CMakeLists.txt names ${name}, which is not in this folder")
    endif()
    list(REMOVE_ITEM all ${path})
  endforeach()
  list(TRANSFORM given_COLD PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  if(given_ALONE)
    target_sources(${target} PRIVATE ${all})
  else()
    set_property(GLOBAL APPEND PROPERTY ${target}_sources ${all})
  endif()
  set_property(GLOBAL APPEND PROPERTY ${target}_cold_sources ${given_COLD})
  if(MIXGRAD_CUDA)
    file(GLOB cuda CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cu)
    target_sources(${target} PRIVATE ${cuda})
  endif()
endfunction()

function(mixgrad_finish_sources target)
  get_property(sources GLOBAL PROPERTY ${target}_sources)
  get_property(cold GLOBAL PROPERTY ${target}_cold_sources)
  mixgrad_unity(sources ${target} ${sources})
  mixgrad_unity(cold ${target}_cold ${cold})
  set_source_files_properties(${cold} PROPERTIES COMPILE_OPTIONS "${mixgrad_cold_code}")
  target_sources(${target} PRIVATE ${sources} ${cold})
endfunction()

function(mixgrad_names_of_list result list expression)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${list})
  file(STRINGS ${list} lines REGEX "^[A-Z]")
  set(names "")
  foreach(line IN LISTS lines)
    if(NOT line MATCHES "${expression}")
      message(FATAL_ERROR "${list}: this line is not of the form that the head of the list shows: ${line}")
    endif()
    list(APPEND names ${CMAKE_MATCH_1})
  endforeach()
  list(REMOVE_DUPLICATES names)
  set(${result} ${names} PARENT_SCOPE)
endfunction()

function(mixgrad_require_files names ending list)
  foreach(name IN LISTS names)
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${name}${ending})
      message(FATAL_ERROR "${list} has a line for ${CMAKE_CURRENT_SOURCE_DIR}/${name}${ending}, which is missing")
    endif()
  endforeach()
endfunction()

function(mixgrad_check_files names list)
  file(GLOB files CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  mixgrad_require_files("${names}" .cpp ${list})
  list(TRANSFORM names APPEND .cpp)
  foreach(file IN LISTS files)
    if(NOT file IN_LIST names)
      message(FATAL_ERROR "${CMAKE_CURRENT_SOURCE_DIR}/${file} has no line in ${list}")
    endif()
  endforeach()
endfunction()

# Sets RESULT to the sources; with MIXGRAD_UNITY, to files that include twelve of them each.
function(mixgrad_unity result name)
  if(NOT MIXGRAD_UNITY)
    set(${result} ${ARGN} PARENT_SCOPE)
    return()
  endif()
  set(units "")
  while(ARGN)
    list(LENGTH ARGN number)
    set(unit ${PROJECT_BINARY_DIR}/unity/${name}_${number}.cpp)
    set(content "")
    foreach(i RANGE 1 12)
      list(POP_FRONT ARGN source)
      if(source)
        cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${PROJECT_SOURCE_DIR})
        string(APPEND content "#include \"${source}\"\n")
      endif()
    endforeach()
    file(CONFIGURE OUTPUT ${unit} CONTENT "${content}" @ONLY)  # touches no file that would not change
    list(APPEND units ${unit})
  endwhile()
  set(${result} ${units} PARENT_SCOPE)
endfunction()
