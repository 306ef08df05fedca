// graft trace: what the model computes on one text, as a safetensors file to compare with other software.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "edit/adapter_file.h"
#include "infer/dataset.h"
#include "infer/predict.h"
#include "tensor/safetensors.h"

namespace graft {

namespace {

struct TraceFlags {
  std::string model, adapter, text, pair, out;
  Precision precision = Precision::kFloat32;
  std::vector<int64_t> ids, type_ids;
};

Sequence read_sequence(const TraceFlags& flags, const Model& model) {
  if (flags.text.empty() == flags.ids.empty()) throw InputError("give either --text or --ids");
  if (!flags.pair.empty() && flags.text.empty()) throw InputError("--pair: expected with --text; with --ids the types in --type-ids tell the texts apart");
  if (!flags.type_ids.empty() && flags.ids.empty()) throw InputError("--type-ids: expected with --ids; with --text the tokenizer gives them");
  Sequence sequence;
  if (!flags.ids.empty()) {
    for (const int64_t id : flags.ids) {
      if (id < 0 || id >= model.config.vocabulary) throw InputError("--ids: expected ids in 0.." + std::to_string(model.config.vocabulary - 1) + ", found " + std::to_string(id));
    }
    if (!flags.type_ids.empty() && flags.type_ids.size() != flags.ids.size()) throw InputError("--type-ids: expected as many as --ids");
    for (const int64_t type : flags.type_ids) {
      if (type < 0 || type >= model.config.type_vocabulary) throw InputError("--type-ids: expected types in 0.." + std::to_string(model.config.type_vocabulary - 1) + ", found " + std::to_string(type));
    }
    sequence.ids = flags.ids;
    sequence.type_ids = flags.type_ids.empty() ? std::vector<int64_t>(flags.ids.size(), 0) : flags.type_ids;
    return sequence;
  }
  const auto tokenizer = Tokenizer::load(Path(flags.model) / "tokenizer.json");
  Example example;
  example.text = flags.text;
  if (!flags.pair.empty()) example.second = flags.pair;
  return encode_examples({example}, *tokenizer, model.config, 0).sequences.front();
}

int trace(const TraceFlags& flags) {
  const at::NoGradGuard no_grad;
  const auto model = load_model(flags.model, flags.precision);
  const Sequence sequence = read_sequence(flags, *model);
  if (const auto length = static_cast<int64_t>(sequence.ids.size()); length > model->config.max_positions) {
    throw InputError(std::string(flags.ids.empty() ? "--text" : "--ids") + ": this model serves at most " + std::to_string(model->config.max_positions) +
                     " tokens, found " + std::to_string(length) + "; give fewer");
  }
  std::optional<LoadedAdapter> loaded;
  if (!flags.adapter.empty()) loaded = load_adapter(flags.adapter, *model);
  const EditTarget target{model->config, model->sites};
  const Adapter bare(Node::map(), "no adapter", target, std::nullopt);
  const Bound bound(*model, loaded ? loaded->adapter : bare, loaded ? loaded->tensors : NamedTensors{});
  const Pack pack = make_pack({{{&sequence}, 0, bound.adapter().layout()}}, {1, model->config.position_offset, model->config.pad_id});
  ForwardOptions options;
  options.keep_hidden = true;
  const LogitsResult result = compute_logits(*model, pack, {{&bound, {}}}, options);
  NamedTensors out{{"ids", pack.ids}};
  for (size_t i = 0; i < result.hidden.size(); ++i) out["hidden." + std::to_string(i)] = result.hidden[i].to(at::kFloat).contiguous();
  if (!result.logits.empty()) {
    out["logits"] = result.logits.front().contiguous();
    out["pooled"] = result.pooled.contiguous();
  } else if (model->weights.has("pooler.weight")) {
    out["pooled"] = at::tanh(model->weights.linear("pooler", result.hidden.back().slice(0, 0, 1)).to(at::kFloat)).contiguous();
  }
  save_safetensors(flags.out, out, {{"format", "graft-trace"}, {"version", "1"}});
  std::printf("%zu tensors of %lld tokens in %s\n", out.size(), static_cast<long long>(pack.num_tokens), flags.out.c_str());
  return 0;
}

}  // namespace

void add_trace(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("trace", "Write ids, hidden states, pooled output and logits of one text to a safetensors file");
  auto flags = std::make_shared<TraceFlags>();
  command->add_option("--model", flags->model, "folder of the model")->required();
  command->add_option("--adapter", flags->adapter, "adapter folder; without it the bare model");
  command->add_option("--text", flags->text, "the text");
  command->add_option("--pair", flags->pair, "a second text");
  command->add_option("--ids", flags->ids, "token ids instead of a text: 101,7592,102")->delimiter(',');
  command->add_option("--type-ids", flags->type_ids, "their segment types (default 0)")->delimiter(',');
  command->add_option("--out", flags->out, "file to write")->required();
  add_precision(*command, flags->precision);
  command->footer("Example:\n  graft trace --model models/minilm --adapter runs/sst2/adapter --text \"a fine film\" --out trace.safetensors\n"
                  "Tensors: ids [T], hidden.0 (embeddings) .. hidden.L [T,C], pooled [1,C], logits [1,outputs] with an adapter that has a head.");
  command->callback([flags, &action] { action = [flags] { return trace(*flags); }; });
}

}  // namespace graft
