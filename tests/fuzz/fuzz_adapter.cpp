// Fuzz target: any text as adapter.json. Only InputError may escape.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "edit/adapter_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const graft::AdapterHeader header =
        graft::parse_adapter_header({reinterpret_cast<const char*>(data), size}, "fuzz");
    graft::ensure(!header.model_type.empty(), "the base has a family");
    for (const auto& [name, digest] : header.base)
      graft::ensure(digest.size() == 32, "a fingerprint has 32 digits: " + name);
    if (header.task) graft::task_to_node(*header.task);
    graft::to_json(header.definition);
  } catch (const graft::InputError&) {
  }
  return 0;
}
