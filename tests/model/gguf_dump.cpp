// Writes what a GGUF model is read as: config.json, model.safetensors under canonical names,
// tokenizer.json. For tools/parity/gguf_model.py.
//
//   gguf_dump MODEL FOLDER [bf16]
#include <ATen/ATen.h>

#include <cstdio>
#include <string_view>

#include "base/error.h"
#include "base/files.h"
#include "model/gguf_model.h"
#include "tensor/safetensors.h"

int main(int count, char** arguments) {
  if (count < 3) {
    std::fputs("usage: gguf_dump MODEL FOLDER [bf16]\n", stderr);
    return 2;
  }
  try {
    const graft::Path model = arguments[1], folder = arguments[2];
    const bool is_half = count > 3 && std::string_view(arguments[3]) == "bf16";
    graft::make_directories(folder);
    graft::write_file_atomically(folder / "config.json",
                                 graft::to_json(graft::gguf_config_json(model)));
    graft::write_file_atomically(
        folder / "tokenizer.json",
        graft::gguf_tokenizer_json(graft::GgufFile(graft::gguf_file(model)).metadata()));
    graft::save_safetensors(
        folder / "model.safetensors",
        graft::load_gguf_model(model, is_half ? at::kBFloat16 : at::kFloat).tensors);
  } catch (const graft::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code());
  }
  return 0;
}
