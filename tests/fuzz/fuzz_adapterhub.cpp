// Fuzz target: any text as adapter_config.json of an AdapterHub folder whose tensors are those of a
// UniPELT adapter.
#include "interop/adapterhub.h"
#include "tests/fuzz/foreign_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const graft::ForeignFolder folder("adapterhub/bert-unipelt/adapterhub",
                                           "adapter_config.json",
                                           {"head_config.json", "pytorch_model_head.bin"});
  for (const char* kind : {"", "noreft"}) {
    folder.read(data, size, [&](const graft::Path& dir, const graft::Model& model) {
      return graft::read_adapterhub(dir, model, {.reft_kind = kind});
    });
  }
  return 0;
}
