// How much faster K runs train together (src/train/members.h) than one after another, on one model
// in memory.
//
//   bench_together MODEL_DIR CoLA/train.tsv TASK STEPS ROUNDS METHOD...
// Both ways alternate in one process, STEPS steps of every run at a time; the ratio is that of the
// sums of all rounds. METHOD: the edits of a run, one or more, taken in turn ("{lora: {rank: 8}}").
#include <ATen/Parallel.h>

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

struct Bench {
  std::string model_dir, data, task;
  int64_t steps, rounds;
  std::vector<std::string> methods;
  std::shared_ptr<const Model> model;

  RunInputs inputs(int64_t i, const Path& out) const {
    RunConfig config;
    config.model = model_dir;
    config.task = task;
    config.data.train = data;
    config.data.rows = 500;
    config.batch_size = 16;
    config.max_length = 64;
    config.max_steps = steps * (rounds + 1);
    config.checkpoint_every.unit = Period::Unit::kNever;
    config.seed = i;
    config.out = (out / std::to_string(i)).string();
    config.adapter =
        parse_yaml("edits: [" + methods[static_cast<size_t>(i) % methods.size()] + "]", "method");
    return load_inputs(config, "tasks", model);
  }

  void compare(int64_t count, const Path& scratch) const {
    std::vector<std::unique_ptr<Run>> alone;
    Members members;
    for (int64_t i = 0; i < count; ++i) {
      alone.push_back(std::make_unique<Run>(inputs(i, scratch / "alone"), StartMode::kFresh));
      members.join(inputs(i, scratch / "together"));
    }
    double apart = 0, together = 0;
    for (int64_t round = 0; round <= rounds; ++round) {
      const double one_by_one = seconds_of([&] {
        for (const auto& run : alone) {
          for (int64_t step = 0; step < steps; ++step) run->step();
        }
      });
      const double shared = seconds_of([&] {
        for (int64_t step = 0; step < steps; ++step) members.step();
      });
      if (round == 0) continue;  // kernels are compiled, memory is taken
      apart += one_by_one;
      together += shared;
    }
    const auto all = static_cast<double>(steps * rounds * count);
    std::printf("%2ld members: %.1f ms a step and run one after another, %.1f together, %.3f x\n",
                count, apart / all * 1e3, together / all * 1e3, apart / together);
    std::fflush(stdout);
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 7) {
    std::fprintf(stderr, "expected MODEL_DIR TRAIN.tsv TASK STEPS ROUNDS METHOD...\n");
    return 2;
  }
  try {
    Bench bench{argv[1], argv[2], argv[3], std::atol(argv[4]), std::atol(argv[5]), {}, {}};
    bench.methods.assign(argv + 6, argv + argc);
    bench.model = load_model(bench.model_dir, Precision::kFloat32);
    const Path scratch =
        std::filesystem::temp_directory_path() / ("bench-study-" + std::to_string(::getpid()));
    std::printf("%d threads\n", at::get_num_threads());
    for (const int64_t count : {1, 2, 4, 12}) bench.compare(count, scratch / std::to_string(count));
    std::filesystem::remove_all(scratch);
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code());
  }
}
