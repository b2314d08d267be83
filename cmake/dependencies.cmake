# The libraries. All but OpenMP, PCRE2 and utf8proc are headers only and needed by the build alone, not by who uses the
# installed library. Each comes from the system (Debian 12 has all of them); a missing one is fetched, pinned by the commit
# of Debian 12's release.
option(MIXGRAD_FETCH "Fetch every pinned library, even where the system has it" OFF)
option(MIXGRAD_TEXT_LIBRARIES "PCRE2 and utf8proc: byte pairs and tokenizers of Hugging Face" ON)

option(MIXGRAD_OPENMP "Threads, by OpenMP; without it the library computes in the thread that calls it" ON)
if(MIXGRAD_OPENMP)
  find_package(OpenMP GLOBAL COMPONENTS CXX)  # GLOBAL: a project around this one links it too
endif()
if(MIXGRAD_OPENMP AND NOT OpenMP_CXX_FOUND)
  message(FATAL_ERROR "OpenMP: ${CMAKE_CXX_COMPILER} has none. g++ brings it along; clang needs Debian's libomp-dev")
endif()

include(FetchContent)
set(FETCHCONTENT_QUIET OFF)

# mixgrad_fetch_source(<target> <Debian package> <repository> <commit> <folder of the headers> <result>): sets RESULT to the
# folder of the fetched source.
function(mixgrad_fetch_source target package repository commit headers result)
  string(MAKE_C_IDENTIFIER ${package} name)
  string(TOUPPER ${name} upper_name)
  if(NOT FETCHCONTENT_SOURCE_DIR_${upper_name} AND NOT EXISTS ${FETCHCONTENT_BASE_DIR}/${name}-src)
    message(NOTICE "-- ${target} not found (Debian: ${package}): fetching ${commit} of ${repository}")
    execute_process(COMMAND git ls-remote ${repository} HEAD OUTPUT_QUIET ERROR_QUIET RESULT_VARIABLE status TIMEOUT 60)
    if(NOT status EQUAL 0)
      message(FATAL_ERROR "${target} is missing, and git cannot reach ${repository}. Install it (on Debian: apt-get "
                          "install ${package}; scripts/install_packages.sh installs all that is needed) or go online")
    endif()
  endif()
  # SOURCE_SUBDIR names a folder that does not exist: the library's own CMake project is not entered.
  FetchContent_Declare(${name} GIT_REPOSITORY ${repository} GIT_TAG ${commit} SOURCE_SUBDIR headers-only)
  FetchContent_MakeAvailable(${name})
  if(NOT EXISTS ${${name}_SOURCE_DIR}/${headers})
    message(FATAL_ERROR "${target}: ${${name}_SOURCE_DIR} has no folder ${headers}; on Debian: apt-get install ${package}")
  endif()
  set(${result} ${${name}_SOURCE_DIR} PARENT_SCOPE)
endfunction()

# mixgrad_fetch(<target> <Debian package> <repository> <commit> <folder of the headers>): does nothing if the target exists.
function(mixgrad_fetch target package repository commit headers)
  if(TARGET ${target})
    return()
  endif()
  mixgrad_fetch_source(${target} ${package} ${repository} ${commit} ${headers} source)
  string(MAKE_C_IDENTIFIER ${package} name)
  add_library(${name} INTERFACE)
  target_include_directories(${name} SYSTEM INTERFACE ${source}/${headers})
  add_library(${target} ALIAS ${name})
endfunction()

# mixgrad_fetch_compiled(<target> <Debian package> <repository> <commit> <folder of the headers> <files>...): the same for a
# library in C, whose files are compiled into libmixgrad.a: who uses that needs nothing of them.
function(mixgrad_fetch_compiled target package repository commit headers)
  if(TARGET ${target})
    return()
  endif()
  mixgrad_fetch_source(${target} ${package} ${repository} ${commit} ${headers} source)
  string(MAKE_C_IDENTIFIER ${package} name)
  list(TRANSFORM ARGN PREPEND ${source}/${headers}/)
  add_library(${name}_objects OBJECT ${ARGN})
  target_include_directories(${name}_objects PRIVATE ${source}/${headers})
  target_compile_options(${name}_objects PRIVATE -O2 -w)
  add_library(${name} INTERFACE)
  target_include_directories(${name} SYSTEM INTERFACE ${source}/${headers})
  add_library(${target} ALIAS ${name})
  set_property(GLOBAL APPEND PROPERTY mixgrad_compiled_objects $<TARGET_OBJECTS:${name}_objects>)
endfunction()

if(EMSCRIPTEN AND NOT MIXGRAD_FETCH)
  include(${CMAKE_CURRENT_LIST_DIR}/web_headers.cmake)
elseif(NOT MIXGRAD_FETCH)
  find_package(Eigen3 3.4 QUIET NO_MODULE)
  find_package(nlohmann_json 3.11 QUIET)
  if(MIXGRAD_PROGRAM)
    find_package(CLI11 2.1 QUIET)
  endif()
  find_path(MIXGRAD_RANDOM123_INCLUDE Random123/philox.h)
  if(MIXGRAD_RANDOM123_INCLUDE)
    add_library(Random123::Random123 INTERFACE IMPORTED)
    set_target_properties(Random123::Random123 PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${MIXGRAD_RANDOM123_INCLUDE})
  endif()
  find_path(MIXGRAD_XXHASH_INCLUDE xxhash.h)
  if(MIXGRAD_XXHASH_INCLUDE)
    add_library(xxHash::xxHash INTERFACE IMPORTED)
    set_target_properties(xxHash::xxHash PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${MIXGRAD_XXHASH_INCLUDE})
  endif()
  if(MIXGRAD_TESTS)
    find_package(doctest 2.4.9 QUIET)
  endif()
  if(MIXGRAD_TEXT_LIBRARIES)
    include(${CMAKE_CURRENT_LIST_DIR}/mixgrad_text_libraries.cmake)
  endif()
endif()
# Whether who links libmixgrad.a must find them as well; fetched ones are compiled into it.
foreach(library PCRE2::8BIT utf8proc::utf8proc)
  if(TARGET ${library})
    list(APPEND mixgrad_system_text_libraries ${library})
  endif()
endforeach()

mixgrad_fetch(Eigen3::Eigen libeigen3-dev https://gitlab.com/libeigen/eigen.git
              3147391d946bb4b6c68edd901f2add6ac1f31f8c .)  # 3.4.0
mixgrad_fetch(nlohmann_json::nlohmann_json nlohmann-json3-dev https://github.com/nlohmann/json.git
              bc889afb4c5bf1c0d8ee29ef35eaaf4c8bef8a5d single_include)  # 3.11.2
mixgrad_fetch(Random123::Random123 librandom123-dev https://github.com/DEShawResearch/random123.git
              726a093cd9a73f3ec3c8d7a70ff10ed8efec8d13 include)  # 1.14.0
mixgrad_fetch(xxHash::xxHash libxxhash-dev https://github.com/Cyan4973/xxHash.git
              35b0373c697b5f160d3db26b1cbb45a0d5ba788c .)  # 0.8.1, XXH_INLINE_ALL: the header alone
if(MIXGRAD_PROGRAM)
  mixgrad_fetch(CLI11::CLI11 libcli11-dev https://github.com/CLIUtils/CLI11.git
                70f8072f9dd2292fd0b9f9e5f58e279f60483ed3 include)  # 2.1.2
endif()
if(MIXGRAD_TESTS)
  mixgrad_fetch(doctest::doctest doctest-dev https://github.com/doctest/doctest.git
                b7c21ec5ceeadb4951b00396fc1e4642dd347e5f .)  # 2.4.9
endif()
if(MIXGRAD_TEXT_LIBRARIES)
  include(${CMAKE_CURRENT_LIST_DIR}/fetched_text_libraries.cmake)
endif()
get_property(mixgrad_compiled_objects GLOBAL PROPERTY mixgrad_compiled_objects)

# Optional, of the program alone: mixgrad_optional_library(<NAME> <library> <header> <Debian package> <what it is for>) sets
# MIXGRAD_NAME_FOUND, and to link it MIXGRAD_NAME_INCLUDE and MIXGRAD_NAME_LIBRARY.
function(mixgrad_optional_library name library header package what)
  option(MIXGRAD_${name} "${what}, where the system has ${package}" ON)
  set(found OFF)
  if(MIXGRAD_PROGRAM AND MIXGRAD_${name})
    find_path(MIXGRAD_${name}_INCLUDE ${header})
    find_library(MIXGRAD_${name}_LIBRARY ${library})
    if(MIXGRAD_${name}_INCLUDE AND MIXGRAD_${name}_LIBRARY)
      set(found ON)
    else()
      message(STATUS "not found: ${library} (Debian: ${package}); the program is built without: ${what}")
    endif()
  endif()
  set(MIXGRAD_${name}_FOUND ${found} PARENT_SCOPE)
endfunction()
mixgrad_optional_library(LIBEDIT edit histedit.h libedit-dev "line editing of mixgrad generate --interactive")
mixgrad_optional_library(LIBYAML yaml yaml.h libyaml-dev "YAML files of mixgrad eval --suite prompts")

# Optional, of the library: MPI, for a training run in several processes (nn/distributed); without it they use TCP.
option(MIXGRAD_MPI "Training in several processes over MPI, where the system has libopenmpi-dev" ON)
set(MIXGRAD_MPI_FOUND OFF)
if(MIXGRAD_MPI)
  set(MPI_CXX_SKIP_MPICXX ON)  # the C interface alone
  find_package(MPI QUIET COMPONENTS CXX)
  if(MPI_CXX_FOUND)
    set(MIXGRAD_MPI_FOUND ON)
  else()
    message(STATUS "not found: MPI (Debian: libopenmpi-dev); the library is built without: several processes by MPI; TCP connects them")
  endif()
endif()
