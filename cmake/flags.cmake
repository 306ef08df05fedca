# Compiler flags for every target of the project, as one interface target.
add_library(graft_flags INTERFACE)
target_compile_options(graft_flags INTERFACE -Wall -Wextra -Wshadow -Wconversion -Wnon-virtual-dtor)
target_include_directories(graft_flags INTERFACE
  $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/src> $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees overlaps and overflows in `"text" + std::string` that are not there (GCC bug 105651); AddressSanitizer
  # finds the real ones. Of a moved std::variant it says that alternatives which it does not hold are uninitialized.
  target_compile_options(graft_flags INTERFACE -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds
                         -Wno-maybe-uninitialized)
  # Vectors wider than the registers of this processor: g++ warns that passing one is not portable; every such function
  # is inlined.
  target_compile_options(graft_flags INTERFACE -Wno-psabi)
endif()
if(GRAFT_WERROR)
  target_compile_options(graft_flags INTERFACE -Werror)
endif()
if(GRAFT_NATIVE)
  target_compile_options(graft_flags INTERFACE -march=native)
endif()
if(GRAFT_SANITIZE OR GRAFT_FUZZ)
  target_compile_options(graft_flags INTERFACE
    -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(graft_flags INTERFACE -fsanitize=address,undefined)
endif()
if(GRAFT_FUZZ)
  target_compile_options(graft_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(GRAFT_TIDY)
  set(CMAKE_CXX_CLANG_TIDY clang-tidy-14)
endif()

find_program(CCACHE ccache)
if(CCACHE)
  # Without these two sloppiness rules ccache refuses every file that uses a precompiled header.
  set(sloppiness pch_defines,time_macros,include_file_mtime,include_file_ctime)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=${sloppiness} ${CCACHE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(graft_flags INTERFACE -fpch-preprocess)
  else()
    target_compile_options(graft_flags INTERFACE "SHELL:-Xclang -fno-pch-timestamp")
  endif()
endif()

# One precompiled header serves libraries and programs, so both are compiled as -fPIC (CMake gives programs -fPIE, which
# g++ refuses to mix).
set(CMAKE_CXX_COMPILE_OPTIONS_PIE -fPIC)
