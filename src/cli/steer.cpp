// graft steer: an adapter that adds the difference of two labels' mean states, without training.
//
// Turner et al. 2023 (arXiv:2308.10248), activation addition: h' = h + c (h+ - h-) at every token;
// over contrast pairs Rimsky et al. 2024 (arXiv:2312.06681): the mean of h+ less that of h-.
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/printable.h"
#include "base/version.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/states.h"
#include "train/out_of_memory.h"

namespace graft {

namespace {

struct SteerFlags {
  StateFlags states;
  std::string towards, from, out;
  double strength = 1.0;
};

int64_t label_of(const char* flag, const Task& task, const std::string& name) {
  const auto* const question = task.find<Classification>();
  if (question == nullptr)
    throw InputError("task " + quote(task.name) +
                     " has no labels to steer between; give one of kind classification");
  if (const std::optional<int64_t> label = question->find_label(name)) return *label;
  throw InputError(std::string(flag) + ": unknown label " + quote(name) +
                   did_you_mean(name, question->labels) + "; there are " +
                   joined(question->labels));
}

// The rows of a label.
std::vector<int64_t> rows_with(const AskedStates& asked, int64_t label) {
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < asked.data.size(); ++i) {
    const std::optional<double>& own = asked.data.examples[static_cast<size_t>(i)].label;
    if (own && static_cast<int64_t>(*own) == label) rows.push_back(i);
  }
  if (rows.empty())
    throw InputError(asked.table.source + ": no row has the label " +
                     quote(asked.task.labels()[static_cast<size_t>(label)]));
  return rows;
}

// [rows, K] -> [K]
at::Tensor mean_of(const at::Tensor& states, const std::vector<int64_t>& rows) {
  return states.index_select(0, at::tensor(rows, at::kLong)).mean(0);
}

int steer(const SteerFlags& flags) {
  if (!std::isfinite(flags.strength))
    throw InputError("--strength: expected a number, found " + std::to_string(flags.strength));
  check_free_for_adapter(flags.out);
  const AskedStates asked = read_asked_states(flags.states, LabelUse::kRequired);
  const std::vector<int64_t> towards =
      rows_with(asked, label_of("--towards", asked.task, flags.towards));
  const std::vector<int64_t> from = rows_with(asked, label_of("--from", asked.task, flags.from));
  const at::Tensor states = compute_states(asked);
  const at::Tensor step = (mean_of(states, towards) - mean_of(states, from)) * flags.strength;
  if (!at::isfinite(step).all().item<bool>())
    throw InputError(
        "--strength: the shifts are not finite numbers; give a smaller one, and see whether model "
        "or adapter are damaged");
  std::vector<Node> names;
  for (const Site& site : asked.sites()) names.push_back(Node::text(site.name));
  const Node definition = Node::map(
      {{"edits",
        Node::list({Node::map({{"affine", Node::map({{"sites", Node::list(names)},
                                                     {"scale", Node::boolean(false)},
                                                     {"shift", Node::boolean(true)}})}})})}});
  const Model& model = *asked.opened.model;
  const Adapter adapter(definition, "graft steer", {model.config, model.sites}, std::nullopt);
  NamedTensors tensors;
  int64_t begin = 0;
  for (const std::string& name : adapter.parts().front().names) {
    const int64_t width = asked.sites()[tensors.size()].output_width;
    tensors[name] = step.slice(0, begin, begin + width).contiguous();
    begin += width;
  }
  save_adapter(flags.out, adapter, tensors, model,
               {.graft_version = kVersionText,
                .model = flags.states.model,
                .tokenizer = asked.opened.text.tokenizer->digest(),
                .max_length = asked.max_length,
                .data = flags.states.data});
  std::printf("%s of the states of %s %s, in %s\n",
              plural(std::ssize(asked.sites()), "shift").c_str(),
              count_text(asked.data.size()).c_str(), plural(asked.data.size(), "row").c_str(),
              bare_name(flags.out).c_str());
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace

void add_steer(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "steer", "Write an adapter that shifts states from one label's mean to another's");
  auto flags = std::make_shared<SteerFlags>();
  add_states(*command, flags->states);
  command->add_option("--towards", flags->towards, "label whose mean the states move towards")
      ->required();
  command->add_option("--from", flags->from, "label whose mean they move away from")->required();
  command->add_option("--strength", flags->strength,
                      "factor of the difference of the means (default 1)");
  command->add_option("--out", flags->out, "folder for the adapter")->required();
  command->footer(
      "Example:\n  graft steer --model models/gpt2 --task sst2 --data pairs.tsv --towards positive "
      "--from negative --layers 6 --strength 4 --out warm\n"
      "Contrast pairs are two rows with two labels. The adapter is an affine edit: a shift at "
      "every token, also of those written.");
  command->callback([flags, &action] {
    action = [flags] {
      return with_memory_need({0, "Give --precision bf16"}, [&] { return steer(*flags); });
    };
  });
}

}  // namespace graft
