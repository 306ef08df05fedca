// Trains a LoRA adapter on a file of rows and applies it to a sentence, through the library.
//
//   train_and_apply MODEL_DIR TRAIN.tsv RUN_DIR "a sentence"
// TRAIN.tsv has the columns text and label; the labels are no and yes.
#include <ATen/ATen.h>

#include <cstdio>

#include "base/error.h"
#include "train/loop.h"

using namespace graft;

int run(const std::string& model_dir, const std::string& data, const std::string& out,
        const std::string& sentence) {
  // Train. Every setting that is not given has the default of doc/run_folder.md.
  RunConfig config;
  config.model = model_dir;
  config.task = "text:no,yes";
  config.data.train = data;
  config.out = out;
  config.adapter = parse_yaml("edits: [{lora: {sites: [attn.q, attn.v], rank: 4}}]", "example");
  config.learning_rate = 1e-2;
  std::vector<std::unique_ptr<Run>> runs;
  runs.push_back(std::make_unique<Run>(load_inputs(config, "tasks"), StartMode::kFresh));
  drive(runs);

  // Apply: the adapter is read back as anyone else would read it.
  const auto model = load_model(model_dir, Precision::kFloat32);
  const LoadedAdapter loaded = load_adapter(Path(out) / "adapter", *model);
  const ModelText text = load_model_text(model_dir);
  Example example;
  example.text = sentence;
  const Dataset rows = encode_examples({example}, *loaded.adapter.task(), text, model->config,
                                       loaded.provenance.max_length);
  const at::Tensor probabilities =
      predict(*model, BoundAdapter(*model, loaded.adapter, loaded.tensors), rows).logits.softmax(1);
  std::printf("\"%s\": no %.3f, yes %.3f\n", sentence.c_str(), probabilities[0][0].item<double>(),
              probabilities[0][1].item<double>());
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "expected MODEL_DIR TRAIN.tsv RUN_DIR \"a sentence\"\n");
    return 2;
  }
  try {
    return run(argv[1], argv[2], argv[3], argv[4]);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code());
  }
}
