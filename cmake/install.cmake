# The installed package: find_package(graft) gives graft::graft (all libraries) and graft::<folder> (one). Included last, when all targets exist.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(GRAFT_INSTALLED_LIBRARIES "")
foreach(folder base text data tensor model edit infer train interop study serve)
  if(TARGET graft_${folder})
    set_target_properties(graft_${folder} PROPERTIES EXPORT_NAME ${folder})
    target_include_directories(graft_${folder} INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/graft>)
    target_compile_features(graft_${folder} PUBLIC cxx_std_20)
    list(APPEND GRAFT_INSTALLED_LIBRARIES graft_${folder})
  endif()
endforeach()
install(TARGETS ${GRAFT_INSTALLED_LIBRARIES} EXPORT graftTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}/graft)
install(EXPORT graftTargets NAMESPACE graft:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/graft)

# Headers keep their folders: #include "edit/edit.h".
install(DIRECTORY ${CMAKE_SOURCE_DIR}/src/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/graft FILES_MATCHING PATTERN "*.h" PATTERN "cli" EXCLUDE)
foreach(folder presets tasks)
  if(EXISTS ${CMAKE_SOURCE_DIR}/${folder})
    install(DIRECTORY ${CMAKE_SOURCE_DIR}/${folder} DESTINATION ${CMAKE_INSTALL_DATADIR}/graft)
  endif()
endforeach()
if(TARGET graft)
  install(TARGETS graft RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

list(TRANSFORM GRAFT_INSTALLED_LIBRARIES REPLACE "^graft_" "graft::" OUTPUT_VARIABLE GRAFT_EXPORTED_LIBRARIES)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/graftConfig.cmake.in ${CMAKE_BINARY_DIR}/graftConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/graft)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/graftConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/graftConfig.cmake ${CMAKE_BINARY_DIR}/graftConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/graft)
