// graft average: several adapters of one shape into one, or the experts of one adapter's stochastic
// mixtures into plain edits.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.h"
#include "base/printable.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "edit/average.h"
#include "session/loading.h"

namespace graft {

namespace {

struct AverageFlags {
  std::string model, out;
  std::vector<std::string> adapters, ignored_keys;
  std::vector<double> weights;
};

// The folder given, else the one that the first adapter remembers.
std::string base_of(const AverageFlags& flags) {
  if (!flags.model.empty()) return flags.model;
  const std::string remembered = read_adapter_header(flags.adapters.front()).provenance.model;
  if (remembered.empty() || !std::filesystem::exists(remembered)) {
    throw InputError("'" + flags.adapters.front() +
                     "': its base model is not where it was in training (" + quote(remembered) +
                     "); give it with --model");
  }
  return remembered;
}

void check_weights(const AverageFlags& flags) {
  if (flags.weights.empty()) return;
  if (flags.adapters.size() == 1)
    throw InputError(
        "--weights: expected with several adapters; one alone has its experts averaged, which "
        "count alike; leave it out");
  if (flags.weights.size() != flags.adapters.size())
    throw InputError("--weights: expected one for each of the " +
                     std::to_string(flags.adapters.size()) + " adapters, found " +
                     std::to_string(flags.weights.size()));
}

int average(const AverageFlags& flags) {
  check_weights(flags);
  check_free_for_adapter(flags.out);
  const auto model = load_model(base_of(flags), Precision::kFloat32,
                                ignored_keys(flags.ignored_keys, flags.adapters));
  std::vector<LoadedAdapter> loaded;
  for (const std::string& dir : flags.adapters) loaded.push_back(load_adapter(dir, *model));
  if (loaded.size() == 1) {
    const PlainAdapter plain =
        average_experts(loaded.front(), flags.adapters.front(), {model->config, model->sites});
    save_adapter(flags.out, plain.adapter, plain.tensors, *model, loaded.front().provenance);
    std::printf("the experts of %s averaged: %zu tensors for %zu, in %s\n",
                bare_name(flags.adapters.front()).c_str(), plain.tensors.size(),
                loaded.front().tensors.size(), bare_name(flags.out).c_str());
    return 0;
  }
  const std::vector<double> weights =
      flags.weights.empty() ? std::vector<double>(loaded.size(), 1.0) : flags.weights;
  save_adapter(flags.out, loaded.front().adapter, average_adapters(loaded, weights, flags.adapters),
               *model, loaded.front().provenance);
  std::printf("%zu adapters averaged, in %s\n", loaded.size(), bare_name(flags.out).c_str());
  return 0;
}

}  // namespace

void add_average(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("average", "Average adapters of one shape, or the experts of one adapter");
  auto flags = std::make_shared<AverageFlags>();
  command
      ->add_option("adapters", flags->adapters,
                   "adapter folders; one alone has its experts averaged")
      ->required();
  command->add_option(
      "--model", flags->model,
      "folder of the frozen model they were trained on (default: where it was in training)");
  add_ignored_keys(*command, flags->ignored_keys);
  command->add_option("--out", flags->out, "folder for the new adapter")->required();
  command
      ->add_option("--weights", flags->weights,
                   "one positive number for each of several adapters (default: all equal)")
      ->delimiter(',')
      ->check(above_zero());
  command->footer(
      "Examples:\n  graft average runs/seed1/adapter runs/seed2/adapter --out soup\n"
      "  graft average runs/adamix/adapter --out plain");
  command->callback([flags, &action] { action = [flags] { return average(*flags); }; });
}

}  // namespace graft
