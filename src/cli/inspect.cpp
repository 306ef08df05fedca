// graft inspect: what the model sees of the data, what a model folder holds, what an adapter holds, how a file is tokenised.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/inspect_data.h"
#include "cli/inspect_tokens.h"
#include "edit/adapter_file.h"
#include "infer/model_text.h"
#include "model/trunk.h"
#include "tensor/safetensors.h"

namespace graft {

namespace {

struct InspectFlags {
  std::string model, adapter, file;
  bool is_json = false;
};

std::string layers_text(const ModelConfig& c) {
  if (!c.has_decoder()) return std::to_string(c.layers) + " layers";
  if (c.layers == 0) return std::to_string(c.decoder_layers) + " layers";
  return std::to_string(c.layers) + " layers of an encoder and " + std::to_string(c.decoder_layers) + " of a decoder";
}

// A family whose positions are a bias by distance has no longest text.
std::string positions_text(const ModelConfig& c) {
  return c.max_positions < ModelConfig::kAnyLength ? "at most " + std::to_string(c.max_positions) + " tokens"
                                                   : "texts of any length";
}

int inspect_model(const InspectFlags& flags) {
  const ModelConfig c = read_config(flags.model);
  const NamedTensors base = load_base(flags.model, c, at::kFloat);
  int64_t parameters = 0;
  for (const auto& [name, tensor] : base) parameters += tensor.numel();
  std::printf("%s: %s, %s, width %lld, %lld heads of %lld, FFN %lld, vocabulary %lld, %s\n%s parameters in %zu tensors\n\n",
              flags.model.c_str(), c.model_type.c_str(), layers_text(c).c_str(), static_cast<long long>(c.width),
              static_cast<long long>(c.heads), static_cast<long long>(c.head_width()), static_cast<long long>(c.ffn_width),
              static_cast<long long>(c.vocabulary), positions_text(c).c_str(), count_text(parameters).c_str(), base.size());
  std::printf("%-18s %-12s %8s %8s\n", "site", "kind", "in", "out");
  const Sites sites(c);
  for (const Site& site : sites.all()) {
    if (site.layer > 0) continue;  // a block of a stack is like its first
    std::printf("%-18s %-12s %8lld %8lld\n", site.name.c_str(), kind_name(site.kind), static_cast<long long>(site.input_width),
                static_cast<long long>(site.output_width));
  }
  for (const auto& [stack, layers] : {std::pair{"enc", c.layers}, std::pair{"dec", c.decoder_layers}}) {
    if (layers > 1) std::printf("... the same for layers 1..%lld of %s\n", static_cast<long long>(layers - 1), stack);
  }
  return 0;
}

int inspect_adapter(const InspectFlags& flags) {
  const AdapterHeader header = read_adapter_header(flags.adapter);
  std::printf("%s", to_yaml(header.definition).c_str());
  if (header.task) std::printf("%s", to_yaml(Node::map({{"task", task_to_node(*header.task)}})).c_str());
  std::printf("base: a %s model with %zu tensors%s\n", header.model_type.c_str(), header.base.size(),
              header.provenance.model.empty() ? "" : (", trained from " + header.provenance.model).c_str());
  if (!header.provenance.origin.empty()) std::printf("imported: %s\n\n", header.provenance.origin.c_str());
  else
    std::printf("trained: %lld steps, seed %lld, texts of at most %lld tokens, data %s, graft %s\n\n",
                static_cast<long long>(header.provenance.steps), static_cast<long long>(header.provenance.seed),
                static_cast<long long>(header.provenance.max_length), header.provenance.data.c_str(),
                header.provenance.graft_version.c_str());
  int64_t total = 0;
  std::printf("%-44s %-14s %12s %10s\n", "tensor", "shape", "values", "norm");
  for (const auto& [name, tensor] : load_safetensors(Path(flags.adapter) / "adapter.safetensors").tensors) {
    std::printf("%-44s %-14s %12s %10.4f\n", name.c_str(), shape_text(tensor.sizes()).c_str(), count_text(tensor.numel()).c_str(),
                tensor.norm().item<double>());
    total += tensor.numel();
  }
  std::printf("%s values\n", count_text(total).c_str());
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("inspect", "Look into data, a model, an adapter, or how a file is tokenised");
  command->require_subcommand(1);
  auto flags = std::make_shared<InspectFlags>();

  CLI::App* data = command->add_subcommand("data", "Rows as the model sees them, with what the loss counts; lengths and counts");
  auto data_flags = std::make_shared<InspectDataFlags>();
  data->add_option("--model", data_flags->model, "model folder or GGUF file")->required();
  data->add_option("--task", data_flags->task, "ready task, YAML file, or text:LABEL,LABEL")->required();
  data->add_option("--data", data_flags->data, "rows: TSV, CSV, JSONL or JSON")->required();
  data->add_option("--rows", data_flags->rows, "rows to show (default 3)")->check(CLI::Range(0, 1 << 30));
  data->add_option("--max-length", data_flags->max_length,
                   "tokens a text is cut to (default: what the model serves, at most 512)")
      ->check(CLI::Range(1, 1 << 30));
  data->add_flag("--json", data_flags->is_json, "one JSON object a row: id, ids, tokens, is_target");
  data->footer(
      "Example:\n  graft inspect data --model models/minilm --task sst2 --data glue/SST-2/dev.tsv --rows 5\n"
      "Tokens in the loss are green on a terminal, elsewhere in [...]; NO_COLOR=1 turns colour off.");
  data->callback([data_flags, &action] { action = [data_flags] { return inspect_data(*data_flags); }; });

  CLI::App* model = command->add_subcommand("model", "Shape and sites of a model");
  model->add_option("--model", flags->model, "model folder or GGUF file")->required();
  model->footer("Example:\n  graft inspect model --model models/minilm");
  model->callback([flags, &action] { action = [flags] { return inspect_model(*flags); }; });

  CLI::App* adapter = command->add_subcommand("adapter", "Edits, task, base and tensors of an adapter");
  adapter->add_option("adapter,--adapter", flags->adapter, "adapter folder")->required();
  adapter->footer("Example:\n  graft inspect adapter runs/sst2/adapter");
  adapter->callback([flags, &action] { action = [flags] { return inspect_adapter(*flags); }; });

  CLI::App* compositions = command->add_subcommand("compositions", "Which edits may stand inside which combinators, and why not");
  compositions->footer("Example:\n  graft inspect compositions");
  compositions->callback([&action] {
    action = [] {
      std::fputs(composition_table().c_str(), stdout);
      return 0;
    };
  });

  CLI::App* tokens = command->add_subcommand("tokens", "Token ids and offsets of every line of a file");
  tokens->add_option("--model", flags->model, "model folder or GGUF file")->required();
  tokens->add_option("--file", flags->file, "text file, one text a line")->required();
  tokens->add_flag("--json", flags->is_json, "one JSON object a line: ids and offsets");
  tokens->footer("Example:\n  graft inspect tokens --model models/minilm --file lines.txt --json");
  tokens->callback([flags, &action] {
    action = [flags] { return inspect_tokens(*load_model_text(flags->model).tokenizer, flags->file, flags->is_json); };
  });
}

}  // namespace graft
