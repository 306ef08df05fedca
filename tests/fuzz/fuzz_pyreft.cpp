// Fuzz target: any text as config.json of a pyreft folder whose tensors are those of LoReFT with
// two sets a layer. The positions, which the config lacks, are once given for both sides and once
// left open.
#include "interop/pyreft.h"

#include "interop/answers.h"
#include "tests/fuzz/foreign_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const graft::ForeignFolder folder("pyreft/bert-loreft-untied/pyreft", "config.json",
                                           {"pytorch_model.bin"});
  for (const graft::ImportAnswers& answers :
       {graft::ImportAnswers{.positions = "f2+l2", .is_untied = true}, graft::ImportAnswers{}}) {
    folder.read(data, size, [&](const graft::Path& dir, const graft::Model& model) {
      return graft::read_pyreft(dir, model, answers);
    });
  }
  return 0;
}
