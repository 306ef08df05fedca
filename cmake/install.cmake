# The installed package: find_package(graft) gives graft::graft (all libraries) and graft::<folder> (one). Included
# last, when all targets exist. A prefix holds all that the program needs but the C library, and may be moved: nothing
# in it names this tree or the torch wheel.
#   component runtime      bin/graft, lib/graft/*.so, share/graft: what the packed archive has
#   component development  static libraries, the public headers and the CMake package
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(GRAFT_SHARED_DIR ${CMAKE_INSTALL_LIBDIR}/graft)

set(GRAFT_INSTALLED_LIBRARIES "")
foreach(folder base stats text data tensor model feed edit infer train session study interop)
  set_target_properties(graft_${folder} PROPERTIES EXPORT_NAME ${folder})
  target_include_directories(graft_${folder} INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(graft_${folder} PUBLIC cxx_std_20)
  list(APPEND GRAFT_INSTALLED_LIBRARIES graft_${folder})
endforeach()
install(TARGETS ${GRAFT_INSTALLED_LIBRARIES} EXPORT graftTargets
  ARCHIVE DESTINATION ${GRAFT_SHARED_DIR} COMPONENT development)
install(EXPORT graftTargets NAMESPACE graft:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/graft COMPONENT development)

# The public headers alone, which need none of libtorch's: #include "graft/session.h".
install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)

# The program finds presets/ and tasks/ in ../share/graft beside its own folder (src/cli/common.cpp).
install(DIRECTORY ${CMAKE_SOURCE_DIR}/presets ${CMAKE_SOURCE_DIR}/tasks
  DESTINATION ${CMAKE_INSTALL_DATADIR}/graft COMPONENT runtime)
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/graft COMPONENT runtime)
file(GLOB torch_licenses ${GRAFT_TORCH_DIR}/../torch-*.dist-info/licenses)
if(torch_licenses)
  install(DIRECTORY ${torch_licenses} DESTINATION ${CMAKE_INSTALL_DATADIR}/graft/libtorch COMPONENT runtime)
endif()

# RPATH, not RUNPATH: only the former also counts for what the libraries need of each other.
set_target_properties(graft PROPERTIES INSTALL_RPATH "$ORIGIN/../${GRAFT_SHARED_DIR}")
target_link_options(graft PRIVATE -Wl,--disable-new-dtags)
install(TARGETS graft RUNTIME_DEPENDENCY_SET graft_needs RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
install(RUNTIME_DEPENDENCY_SET graft_needs
  PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|pthread)\\.so"   # the C library is the machine's
  LIBRARY DESTINATION ${GRAFT_SHARED_DIR} COMPONENT runtime)

list(TRANSFORM GRAFT_INSTALLED_LIBRARIES REPLACE "^graft_" "graft::" OUTPUT_VARIABLE GRAFT_EXPORTED_LIBRARIES)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/graftConfig.cmake.in ${CMAKE_BINARY_DIR}/graftConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/graft PATH_VARS GRAFT_SHARED_DIR)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/graftConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/graftConfig.cmake ${CMAKE_BINARY_DIR}/graftConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/graft COMPONENT development)

# `cpack` packs the runtime component: unpacked anywhere, bin/graft runs.
set(CPACK_GENERATOR TXZ)
set(CPACK_THREADS 0)
set(CPACK_PACKAGE_FILE_NAME graft-${PROJECT_VERSION}-${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_COMPONENTS_ALL runtime)
set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_INSTALL_CMAKE_PROJECTS "${CMAKE_BINARY_DIR};graft;runtime;/")
include(CPack)
