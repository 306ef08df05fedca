// How much faster runs train together (src/train/members.h) than one after another, on one model in
// memory: from which size of batch, and with how many tokens in a pass.
//
//   bench_together MODEL_DIR CoLA/train.tsv TASK fp32|bf16 MEMBERS STEPS ROUNDS METHOD...
// Both ways alternate in one process, STEPS steps of every run at a time; a ratio is that of the
// medians over rounds. METHOD: the edits of a run, one or more, taken in turn ("{lora: {rank:
// 8}}"). Prints a JSON list.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <unistd.h>

#include "base/error.h"
#include "train/members.h"

using namespace graft;

namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Bench {
  std::string model_dir, data, task;
  Precision precision;
  int64_t members, steps, rounds;
  std::vector<std::string> methods;
  std::shared_ptr<const Model> model;

  RunInputs inputs(int64_t i, int64_t batch_size, const Path& out) const {
    RunConfig config;
    config.model = model_dir;
    config.task = task;
    config.precision = precision;
    config.data.train = data;
    config.data.rows = std::max<int64_t>(500, batch_size * 8);
    config.batch_size = batch_size;
    config.max_length = 64;
    config.max_steps = steps * (rounds + 1);
    config.checkpoint_every.unit = Period::Unit::kNever;
    config.seed = i;
    config.out = (out / std::to_string(i)).string();
    config.adapter =
        parse_yaml("edits: [" + methods[static_cast<size_t>(i) % methods.size()] + "]", "method");
    return load_inputs(config, "tasks", model);
  }

  std::string compare(int64_t batch_size, int64_t pass_tokens, const Path& scratch) const {
    std::vector<std::unique_ptr<Run>> alone;
    Members together(pass_tokens);
    for (int64_t i = 0; i < members; ++i) {
      alone.push_back(
          std::make_unique<Run>(inputs(i, batch_size, scratch / "alone"), StartMode::kFresh));
      together.join(inputs(i, batch_size, scratch / "together"));
    }
    std::vector<double> apart, shared;
    for (int64_t round = 0; round <= rounds; ++round) {
      const double one_by_one = seconds_of([&] {
        for (const auto& run : alone) {
          for (int64_t step = 0; step < steps; ++step) run->step();
        }
      });
      const double at_once = seconds_of([&] {
        for (int64_t step = 0; step < steps; ++step) together.step();
      });
      if (round == 0) continue;  // kernels are compiled, memory is taken
      apart.push_back(one_by_one);
      shared.push_back(at_once);
    }
    const double each = 1e3 / static_cast<double>(steps * members);
    char text[256];
    std::snprintf(text, sizeof text,
                  "{\"batch_size\": %ld, \"pass_tokens\": %ld, \"alone_ms\": %.2f, "
                  "\"together_ms\": %.2f, \"ratio\": %.3f}",
                  batch_size, pass_tokens, median(apart) * each, median(shared) * each,
                  median(apart) / median(shared));
    return text;
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 9) {
    std::fprintf(stderr,
                 "expected MODEL_DIR TRAIN.tsv TASK fp32|bf16 MEMBERS STEPS ROUNDS METHOD...\n");
    return 2;
  }
  try {
    const Precision precision =
        std::string(argv[4]) == "bf16" ? Precision::kBFloat16 : Precision::kFloat32;
    Bench bench{argv[1],
                argv[2],
                argv[3],
                precision,
                std::atol(argv[5]),
                std::atol(argv[6]),
                std::atol(argv[7]),
                {},
                {}};
    bench.methods.assign(argv + 8, argv + argc);
    bench.model = load_model(bench.model_dir, precision);
    const Path scratch =
        std::filesystem::temp_directory_path() / ("bench-together-" + std::to_string(::getpid()));
    const char* before = "[";
    for (const int64_t batch_size : {1, 4, 8, 16, 32}) {
      for (const int64_t pass_tokens : {512, 1024, 4096}) {
        std::printf("%s%s", before,
                    bench.compare(batch_size, pass_tokens, scratch / "runs").c_str());
        std::fflush(stdout);
        before = ",\n ";
        std::filesystem::remove_all(scratch);
      }
    }
    std::printf("]\n");
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code());
  }
}
