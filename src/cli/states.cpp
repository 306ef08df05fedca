#include "cli/states.h"

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "cli/common.h"
#include "cli/files.h"
#include "infer/collect.h"

namespace graft {

namespace {

Node options_of(const StateFlags& flags) {
  return Node::map({{"sites", Node::texts(flags.sites)},
                    {"layers", Node::integers(flags.layers)},
                    {"positions", Node::text(flags.positions)}});
}

Task task_of(const StateFlags& flags, const std::optional<LoadedAdapter>& loaded) {
  std::optional<Task> task = find_task(flags.task);
  if (!task && loaded) task = loaded->adapter.task();
  if (!task) throw InputError("--task: missing; it says which column is the text");
  return with_format(std::move(*task), flags.data_format);
}

}  // namespace

const std::vector<Site>& AskedStates::sites() const { return adapter.parts().back().spec().sites; }

void add_states(CLI::App& command, StateFlags& flags) {
  command.add_option("--model", flags.model, "the frozen model: a folder or a GGUF file")
      ->required();
  command.add_option("--adapter", flags.adapter,
                     "adapter folder, under which the states are read; default: the bare model");
  command.add_option("--task", flags.task,
                     "task name or file, which says what the text is; default: the adapter's own");
  add_rows(command, flags.data, flags.data_format)->required();
  add_ignored_keys(command, flags.ignored_keys);
  command
      .add_option("--sites", flags.sites,
                  "sites whose values are read, divided by commas (default: the residual stream)")
      ->delimiter(',');
  command
      .add_option("--layers", flags.layers,
                  "layers of these, counted from 0 or, below it, from the last (default -1)")
      ->delimiter(',');
  command.add_option("--positions", flags.positions,
                     "tokens whose values are read: fN the first, lN the last, fN+lM, last or all; "
                     "of several the mean (default: last)");
  add_max_length(command, flags.max_length);
  add_precision(command, flags.precision);
  add_threads(command, flags.threads);
}

AskedStates read_asked_states(const StateFlags& flags, LabelUse labels) {
  set_threads(flags.threads);
  OpenedModel opened =
      open_model(flags.model, flags.precision, ignored_keys(flags.ignored_keys, {flags.adapter}));
  const ModelConfig& config = opened.model->config;
  std::optional<LoadedAdapter> loaded;
  if (!flags.adapter.empty()) loaded = load_checked(flags.adapter, opened);
  Task task = task_of(flags, loaded);
  check_task(task, config);
  Adapter adapter = collecting_adapter(options_of(flags), "graft", loaded ? &*loaded : nullptr,
                                       {config, opened.model->sites});
  const int64_t asked =
      flags.max_length > 0 || !loaded ? flags.max_length : loaded->provenance.max_length;
  const int64_t max_length = resolve_max_length(asked, config, adapter.layout());
  Table table = read_table(flags.data, table_options(task));
  std::vector<Example> examples = to_examples(table, task, labels);
  adapter.check_subspaces(examples);
  Dataset data = encode_examples(std::move(examples), task, opened.text, config, max_length,
                                 TargetUse::kLeaveOut);
  tell_cut(data, "data");
  return {std::move(opened), std::move(loaded),  std::move(task), std::move(table),
          std::move(data),   std::move(adapter), max_length};
}

at::Tensor compute_states(const AskedStates& asked) {
  const BoundAdapter bound(*asked.opened.model, asked.adapter,
                           asked.loaded ? asked.loaded->tensors : NamedTensors{});
  return collect_states(*asked.opened.model, bound, asked.data);
}

}  // namespace graft
