# What `cmake --install` puts under its prefix:
#
#   bin/mixgrad                      the program
#   lib/libmixgrad.a, libmixgrad_cases.a
#   lib/cmake/mixgrad/               find_package(mixgrad)
#   include/mixgrad/                 mixgrad/mixgrad.h and what it includes: core/ autograd/ ops/ nn/
#   share/mixgrad/                   the shipped text, the licence
#
# Private headers stay behind: those that need a library of the build (JSON, Eigen) or a flag of it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(headers ${CMAKE_INSTALL_INCLUDEDIR}/mixgrad)  # a folder of its own: core/ and ops/ are nobody's names
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/mixgrad)

install(TARGETS mixgrad_lib mixgrad_cases EXPORT mixgradTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${headers})
install(EXPORT mixgradTargets NAMESPACE mixgrad:: DESTINATION ${package})
install(DIRECTORY core autograd ops nn mixgrad DESTINATION ${headers}
        FILES_MATCHING PATTERN "*.h" PATTERN "*.cuh" PATTERN "*.def"
        PATTERN "*_internal.h" EXCLUDE
        REGEX "/ops/selective_scan/scan_block\\.h$" EXCLUDE
        REGEX "/nn/(files/strict_json|config/layer_json)\\.h$" EXCLUDE
        REGEX "/(nn/training/device_batches\\.cuh|nn/distributed/nccl_library\\.cuh|nn/data/shuffle\\.h|core/numeric/(philox|dropout_bits)\\.h)$" EXCLUDE
        REGEX "/ops/attention/.*\\.cuh$" EXCLUDE
        REGEX "/nn/exchange/hugging_face/(models/.*|hugging_face_(model|config))\\.h$" EXCLUDE
        REGEX "/ops/matmul/(packed/.*|matmul_implementations)\\.h$" EXCLUDE)
install(FILES ${PROJECT_BINARY_DIR}/generated/mixgrad/config.h DESTINATION ${headers}/mixgrad)

set(mixgrad_text share/mixgrad/tinyshakespeare.txt)  # beside bin/, where the program looks for it
set(mixgrad_cuda_root "")
if(MIXGRAD_CUDA)
  cmake_path(GET MIXGRAD_NVCC PARENT_PATH mixgrad_cuda_root)
  cmake_path(GET mixgrad_cuda_root PARENT_PATH mixgrad_cuda_root)
endif()
configure_package_config_file(cmake/mixgradConfig.cmake.in ${PROJECT_BINARY_DIR}/generated/mixgradConfig.cmake
                              INSTALL_DESTINATION ${package} PATH_VARS mixgrad_text)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/generated/mixgradConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/generated/mixgradConfig.cmake ${PROJECT_BINARY_DIR}/generated/mixgradConfigVersion.cmake
              cmake/mixgrad_enable_cuda.cmake cmake/mixgrad_text_libraries.cmake DESTINATION ${package})
install(FILES data/tinyshakespeare.txt LICENSE DESTINATION share/mixgrad)
if(TARGET mixgrad)
  install(TARGETS mixgrad RUNTIME DESTINATION bin)
endif()
