// Threads that wait for work give their core away instead of spinning. Two programs that spin on
// the same cores slow each other down ten times (measured: 250 against 2,300 tokens/s with a busy
// neighbour); waiting passively costs a few per cent on an idle machine.
//
// The OpenMP runtime inside libtorch reads its environment when it is loaded, before main; a
// function of .preinit_array comes earlier still. Whoever sets OMP_WAIT_POLICY or GOMP_SPINCOUNT is
// left alone.
#include <cstdlib>

namespace {

void prefer_passive_waiting(int, char**, char**) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  ::setenv("OMP_WAIT_POLICY", "passive", /*overwrite=*/0);
  ::setenv("GOMP_SPINCOUNT", "0",
           /*overwrite=*/0);  // the policy alone leaves GNU's runtime spinning
}

}  // namespace

__attribute__((section(".preinit_array"),
               used)) void (*const kPreferPassiveWaiting)(int, char**,
                                                          char**) = prefer_passive_waiting;
