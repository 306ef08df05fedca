// Fuzz target: any text as JSON and as YAML. Only InputError may escape;
// what is read must be equal after writing and reading it again.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "base/document.h"
#include "base/error.h"

namespace {

using graft::Node;

void require_equal(const Node& a, const Node& b, const std::string& text) {
  if (a == b) return;
  std::fprintf(stderr, "read, written and read again it differs:\n%s\n", text.c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const Node node = graft::parse_json(text, "fuzz");
    for (const int indent : {-1, 2}) {
      const std::string json = graft::to_json(node, indent);
      require_equal(node, graft::parse_json(json, "again"), json);
    }
  } catch (const graft::InputError&) {
  }
  Node node;
  try {
    node = graft::parse_yaml(text, "fuzz");
  } catch (const graft::InputError&) {
    return 0;
  }
  const std::string yaml = graft::to_yaml(node);
  require_equal(node, graft::parse_yaml(yaml, "again"), yaml);
  graft::parse_json(graft::to_json(node), "again");
  return 0;
}
