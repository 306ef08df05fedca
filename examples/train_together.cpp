// Trains two adapters at once: a LoRA and a LoReFT on one model in memory, in the same forward and
// backward passes. Each writes the folder that it would write alone.
//
//   train_together MODEL_DIR TRAIN.tsv OUT_DIR
// TRAIN.tsv has the columns text and label; the labels are no and yes.
#include <cstdio>
#include <exception>

#include "graft/run.h"

using namespace graft;

int run(const std::string& model, const std::string& data, const std::string& out) {
  RunRequest lora;
  lora.model = model;
  lora.task = "text:no,yes";
  lora.data = data;
  lora.settings = {"batch_size=8", "learning_rate=0.01"};
  RunRequest loreft = lora;
  lora.out = out + "/lora";
  lora.definition = "edits: [{lora: {rank: 4}}]";
  loreft.out = out + "/loreft";
  loreft.definition = "edits: [{reft: {rank: 1}}]";

  int failures = 0;
  for (const RunOutcome& outcome : train_together({lora, loreft})) {
    std::printf("%s: %ld of %ld steps %s\n", outcome.out.c_str(), long{outcome.steps_done},
                long{outcome.total_steps}, outcome.failure.c_str());
    failures += outcome.failure.empty() ? 0 : 1;
  }
  return failures;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "expected MODEL_DIR TRAIN.tsv OUT_DIR\n");
    return 2;
  }
  try {
    return run(argv[1], argv[2], argv[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
