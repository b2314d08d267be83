# The header-only libraries of the building machine, for Emscripten. /usr/include itself holds the C library of that
# machine, so links to the four libraries alone stand in a folder of their own.
foreach(library "Eigen3::Eigen Eigen eigen3" "nlohmann_json::nlohmann_json nlohmann ." "Random123::Random123 Random123 ."
                "xxHash::xxHash xxhash.h .")
  separate_arguments(library)
  list(POP_FRONT library target name folder)
  string(MAKE_C_IDENTIFIER MIXGRAD_HOST_${name} variable)
  find_path(${variable} ${name} PATHS /usr/include /usr/local/include PATH_SUFFIXES ${folder} NO_CMAKE_FIND_ROOT_PATH)
  mark_as_advanced(${variable})
  if(${variable})
    file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/headers/${name})
    file(CREATE_LINK ${${variable}}/${name} ${PROJECT_BINARY_DIR}/headers/${name}/${name} SYMBOLIC)
    add_library(${target} INTERFACE IMPORTED)
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${PROJECT_BINARY_DIR}/headers/${name})
  endif()
endforeach()
