// Trains two adapters at once: a LoRA and a LoReFT on one model in memory, in the same forward and
// backward passes. Each writes the folder that it would write alone.
//
//   train_together MODEL_DIR TRAIN.tsv OUT_DIR
// TRAIN.tsv has the columns text and label; the labels are no and yes.
#include <cstdio>

#include "base/error.h"
#include "train/members.h"

using namespace graft;

RunConfig config_of(const std::string& model_dir, const std::string& data, const std::string& out,
                    const char* edits, double rate) {
  RunConfig config;
  config.model = model_dir;
  config.task = "text:no,yes";
  config.data.train = data;
  config.out = out;
  config.adapter = parse_yaml(edits, "example");
  config.learning_rate = rate;
  config.batch_size = 8;
  return config;
}

int run(const std::string& model_dir, const std::string& data, const std::string& out) {
  const auto model = load_model(model_dir, Precision::kFloat32);
  Members members;
  for (const RunConfig& config :
       {config_of(model_dir, data, out + "/lora", "edits: [{lora: {rank: 4}}]", 1e-2),
        config_of(model_dir, data, out + "/loreft", "edits: [{reft: {rank: 1}}]", 5e-3)})
    members.join(load_inputs(config, "tasks", model));
  while (!members.is_done()) members.step();
  for (size_t i = 0; i < members.size(); ++i) {
    const MemberStatus& member = members.status(i);
    std::printf("%s: %ld of %ld steps %s\n", member.out.c_str(), long{member.steps_done},
                long{member.total_steps}, member.failure.c_str());
  }
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "expected MODEL_DIR TRAIN.tsv OUT_DIR\n");
    return 2;
  }
  try {
    return run(argv[1], argv[2], argv[3]);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code());
  }
}
