// A command around inspect_tokens alone, without torch: for parity runs (tools/parity/tokens.py).
//   tokens_main MODEL_DIR FILE [--json]
#include <cstdio>
#include <string_view>

#include "base/error.h"
#include "cli/inspect_tokens.h"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: tokens_main MODEL_DIR FILE [--json]\n");
    return 2;
  }
  try {
    return graft::inspect_tokens(*graft::Tokenizer::load(argv[1]), argv[2],
                                 argc > 3 && std::string_view(argv[3]) == "--json");
  } catch (const graft::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code());
  }
}
