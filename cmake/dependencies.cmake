# What the project is built on. Everything but libtorch is a Debian package (tools/setup.sh installs them).
find_package(Threads REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc i18n)
find_package(ZLIB REQUIRED)
find_package(SQLite3 3.37 REQUIRED)   # strict tables
find_package(Boost 1.74 REQUIRED)   # headers: Boost.Math has the distributions of src/stats
if(GRAFT_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()

# The charts of reports, embedded into the program; optional.
set(GRAFT_CHARTS ${CMAKE_SOURCE_DIR}/third_party/echarts.min.js CACHE FILEPATH "ECharts, for the charts of reports")
if(NOT EXISTS "${GRAFT_CHARTS}")
  message(STATUS "ECharts was not found at '${GRAFT_CHARTS}': reports have tables only (tools/setup.sh charts)")
endif()

# The program's malloc, linked in as it is. Tensors of a training step are large, and every batch has others: the C
# library's heap kept a third more memory than was in use at its peak, and where it maps large blocks afresh the kernel
# clears their pages each time.
find_library(GRAFT_MALLOC NAMES libtcmalloc_minimal.a)
if(NOT GRAFT_MALLOC)
  message(FATAL_ERROR
    "tcmalloc was not found: install the Debian package libgoogle-perftools-dev (tools/setup.sh does).")
endif()

# libtorch: the headers and libraries inside the torch wheel. Its own CMake files are not used, since those of a CUDA
# wheel ask for a toolkit.
if(NOT GRAFT_TORCH_DIR)
  file(GLOB GRAFT_TORCH_DIR ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
endif()
if(NOT EXISTS "${GRAFT_TORCH_DIR}/lib/libtorch_cpu.so")
  message(FATAL_ERROR
    "libtorch was not found in '${GRAFT_TORCH_DIR}'. Run tools/setup.sh, or set GRAFT_TORCH_DIR to the folder "
    "'torch' of an installed torch 2.13 wheel.")
endif()
add_library(graft_torch INTERFACE)
target_include_directories(graft_torch SYSTEM INTERFACE
  $<BUILD_INTERFACE:${GRAFT_TORCH_DIR}/include> $<BUILD_INTERFACE:${GRAFT_TORCH_DIR}/include/torch/csrc/api/include>)
target_link_libraries(graft_torch INTERFACE ${GRAFT_TORCH_DIR}/lib/libtorch_cpu.so ${GRAFT_TORCH_DIR}/lib/libc10.so)
target_compile_definitions(graft_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
set(CMAKE_BUILD_RPATH ${GRAFT_TORCH_DIR}/lib)
