// graft inspect: what the model sees of the data, what a model folder or an adapter holds, how a
// file is tokenised, what is ready.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.h"
#include "base/printable.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/files.h"
#include "cli/inspect_data.h"
#include "cli/inspect_lists.h"
#include "cli/inspect_model.h"
#include "cli/inspect_options.h"
#include "cli/inspect_tokens.h"
#include "edit/adapter_file.h"
#include "feed/model_text.h"
#include "tensor/safetensors.h"

namespace graft {

namespace {

struct InspectFlags {
  std::string model, adapter, file, method;
  std::vector<std::string> ignored_keys;
  bool is_json = false;
};

int inspect_adapter(const InspectFlags& flags) {
  const AdapterHeader header = read_adapter_header(flags.adapter);
  std::printf("%s", to_yaml(header.definition).c_str());
  if (header.task)
    std::printf("%s", to_yaml(Node::map({{"task", task_to_node(*header.task)}})).c_str());
  const Provenance& origin = header.provenance;
  std::printf(
      "base: a %s model with %zu tensors%s\n", printable(header.model_type).c_str(),
      header.base.size(),
      origin.model.empty() ? "" : (", trained from " + printable(origin.model, 1000)).c_str());
  if (!origin.ignored_config_keys.empty())
    std::printf("keys of its config.json that were passed over: %s\n",
                printable(joined(origin.ignored_config_keys), 1000).c_str());
  if (!origin.origin.empty())
    std::printf("imported: %s\n\n", printable(origin.origin, 1000).c_str());
  else
    std::printf(
        "trained: %lld steps, seed %lld, texts of at most %lld tokens, data %s, graft %s\n\n",
        static_cast<long long>(origin.steps), static_cast<long long>(origin.seed),
        static_cast<long long>(origin.max_length), printable(origin.data, 1000).c_str(),
        printable(origin.graft_version).c_str());
  int64_t total = 0;
  std::printf("%-44s %-14s %12s %10s\n", "tensor", "shape", "values", "norm");
  for (const auto& [name, tensor] :
       load_safetensors(Path(flags.adapter) / "adapter.safetensors").tensors) {
    std::printf("%-44s %-14s %12s %10.4f\n", printable(name, 300).c_str(),
                shape_text(tensor.sizes()).c_str(), count_text(tensor.numel()).c_str(),
                tensor.to(at::kFloat).norm().item<double>());  // it may hold integers
    total += tensor.numel();
  }
  std::printf("%s values\n", count_text(total).c_str());
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("inspect",
                                         "Look into data, a model, an adapter, or how a file is "
                                         "tokenised; list presets, tasks and methods");
  command->require_subcommand(1);
  auto flags = std::make_shared<InspectFlags>();

  CLI::App* data =
      command->add_subcommand("data",
                              "Rows as the model sees them, with what the loss counts; or, of a "
                              "file alone, a task for it to begin with");
  auto data_flags = std::make_shared<InspectDataFlags>();
  data->add_option("--model", data_flags->model, "model folder or GGUF file");
  add_ignored_keys(*data, data_flags->ignored_keys);
  data->add_option("--task", data_flags->task, "ready task, YAML file, or text:LABEL,LABEL");
  add_rows(*data, data_flags->data, data_flags->data_format, "rows", "data,--data")->required();
  data->add_option("--rows", data_flags->rows, "rows to show (default 3)")
      ->check(CLI::Range(0, 1 << 30));
  data->add_option("--max-length", data_flags->max_length,
                   "tokens a text is cut to (default: what the model serves, at most 512)")
      ->check(CLI::Range(1, 1 << 30));
  data->add_flag("--json", data_flags->is_json,
                 "one JSON object a row: id, ids, tokens, is_target");
  data->footer(
      "Examples:\n  graft inspect data tickets.csv > tickets.yaml\n"
      "  graft inspect data --model models/minilm --task sst2 --data glue/SST-2/dev.tsv --rows 5\n"
      "Tokens in the loss are green on a terminal, elsewhere in [...]; NO_COLOR=1 turns colour "
      "off.");
  data->callback(
      [data_flags, &action] { action = [data_flags] { return inspect_data(*data_flags); }; });

  CLI::App* model =
      command->add_subcommand("model", "Family, sizes and sites of a model: where an edit can act");
  model->add_option("model,--model", flags->model, "model folder or GGUF file")->required();
  add_ignored_keys(*model, flags->ignored_keys);
  model->footer("Example:\n  graft inspect model models/minilm");
  model->callback([flags, &action] {
    action = [flags] {
      return inspect_model(flags->model, IgnoredKeys{.named = flags->ignored_keys});
    };
  });

  CLI::App* presets =
      command->add_subcommand("presets", "The adapters that --adapter takes by name");
  presets->footer("Example:\n  graft inspect presets");
  presets->callback([&action] { action = inspect_presets; });

  CLI::App* tasks = command->add_subcommand("tasks", "The tasks that --task takes by name");
  tasks->footer("Example:\n  graft inspect tasks");
  tasks->callback([&action] { action = inspect_tasks; });

  CLI::App* adapter =
      command->add_subcommand("adapter", "Edits, task, base and tensors of an adapter");
  adapter->add_option("adapter,--adapter", flags->adapter, "adapter folder")->required();
  adapter->footer("Example:\n  graft inspect adapter runs/sst2/adapter");
  adapter->callback([flags, &action] { action = [flags] { return inspect_adapter(*flags); }; });

  CLI::App* method = command->add_subcommand(
      "method", "The methods, or the options of one: default, values, meaning");
  method->add_option("method", flags->method,
                     "an edit, a combinator, or head; without it all are listed");
  method->add_flag("--json", flags->is_json, "the same as JSON");
  method->footer("Examples:\n  graft inspect method\n  graft inspect method lora");
  method->callback([flags, &action] {
    action = [flags] { return inspect_method(flags->method, flags->is_json); };
  });

  CLI::App* settings = command->add_subcommand(
      "settings", "The settings of a run: the keys of run.yaml and of --set");
  settings->add_flag("--json", flags->is_json, "the same as JSON");
  settings->footer("Example:\n  graft inspect settings");
  settings->callback(
      [flags, &action] { action = [flags] { return inspect_settings(flags->is_json); }; });

  CLI::App* compositions = command->add_subcommand(
      "compositions", "Which edits may stand inside which combinators, and why not");
  compositions->footer("Example:\n  graft inspect compositions");
  compositions->callback([&action] {
    action = [] {
      std::fputs(composition_table().c_str(), stdout);
      return 0;
    };
  });

  CLI::App* tokens =
      command->add_subcommand("tokens", "Token ids and offsets of every line of a file");
  tokens->add_option("--model", flags->model, "model folder or GGUF file")->required();
  accept_standard_input(
      *tokens
           ->add_option("--file", flags->file, "text file, one text a line; -: the standard input")
           ->required());
  tokens->add_flag("--json", flags->is_json, "one JSON object a line: ids and offsets");
  tokens->footer("Example:\n  graft inspect tokens --model models/minilm --file lines.txt --json");
  tokens->callback([flags, &action] {
    action = [flags] {
      return inspect_tokens(*load_model_text(flags->model).tokenizer, flags->file, flags->is_json);
    };
  });
}

}  // namespace graft
