// graft trace: what the model computes on one text, as a safetensors file to compare with other
// software.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/printable.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/files.h"
#include "edit/adapter_file.h"
#include "edit/lane_results.h"
#include "feed/dataset.h"
#include "infer/predict.h"
#include "session/loading.h"
#include "tensor/linear.h"
#include "tensor/safetensors.h"

namespace graft {

namespace {

struct TraceFlags {
  std::string model, adapter, text, pair, out;
  std::vector<std::string> ignored_keys;
  Precision precision = Precision::kFloat32;
  std::vector<int64_t> ids, type_ids, target_ids;
};

void check_ids(const char* flag, const std::vector<int64_t>& ids, int64_t size, const char* what) {
  for (const int64_t id : ids) {
    if (id < 0 || id >= size)
      throw InputError(std::string(flag) + ": expected " + what + " in 0.." +
                       std::to_string(size - 1) + ", found " + std::to_string(id));
  }
}

// `layout`: the adapter's own rows, which take positions before the tokens.
void check_length(const char* flag, const Sequence& sequence, const ModelConfig& config,
                  const RowLayout& layout) {
  const auto length = static_cast<int64_t>(sequence.ids.size());
  const int64_t most = positions_for_tokens(config, layout), taken = config.max_positions - most;
  if (length <= most) return;
  throw InputError(std::string(flag) + ": this model serves at most " + std::to_string(most) +
                   " tokens" +
                   (taken > 0 ? " beside the " + counted(taken, "row") + " of the adapter" : "") +
                   ", found " + std::to_string(length) + "; give fewer");
}

Sequence read_sequence(const TraceFlags& flags, const Model& model) {
  if (flags.text.empty() == flags.ids.empty()) throw InputError("give either --text or --ids");
  if (!flags.pair.empty() && flags.text.empty())
    throw InputError(
        "--pair: expected with --text; with --ids the types in --type-ids tell the texts apart");
  if (!flags.type_ids.empty() && flags.ids.empty())
    throw InputError("--type-ids: expected with --ids; with --text the tokenizer gives them");
  Sequence sequence;
  if (!flags.ids.empty()) {
    check_ids("--ids", flags.ids, model.config.vocabulary, "ids");
    if (!flags.type_ids.empty() && flags.type_ids.size() != flags.ids.size())
      throw InputError("--type-ids: expected as many as --ids");
    if (!flags.type_ids.empty() && model.config.type_vocabulary == 0)
      throw InputError("--type-ids: a " + model.config.model_type +
                       " model has no segment types; leave it out");
    check_ids("--type-ids", flags.type_ids, model.config.type_vocabulary, "types");
    sequence.ids = flags.ids;
    sequence.type_ids =
        flags.type_ids.empty() ? std::vector<int64_t>(flags.ids.size(), 0) : flags.type_ids;
    return sequence;
  }
  std::optional<std::string_view> pair;
  if (!flags.pair.empty()) pair = flags.pair;
  const Encoding encoding = load_model_text(flags.model).tokenizer->encode(flags.text, pair);
  sequence.ids = encoding.ids;
  if (model.config.type_vocabulary > 0) sequence.type_ids = encoding.type_ids;
  return sequence;
}

// Where an adapter that answers by a cloze chooses a word: the one mask of the text.
Mask mask_of(const Sequence& sequence, const Task& task, const TraceFlags& flags,
             const ModelConfig& config) {
  const ModelText text = load_model_text(flags.model);
  const std::string token = text.mask_token();
  const int64_t id = text.tokenizer->token_to_id(token).value();
  const auto count = std::count(sequence.ids.begin(), sequence.ids.end(), id);
  if (count != 1)
    throw InputError(std::string(flags.ids.empty() ? "--text" : "--ids") + ": expected one " +
                     token + ", where the adapter's cloze chooses a word, found " +
                     std::to_string(count));
  return {std::find(sequence.ids.begin(), sequence.ids.end(), id) - sequence.ids.begin(),
          mask_words(task, text, config)};
}

// What the encoder-decoder's decoder reads: the ids given, or its start token alone. Nothing for
// other models, and under a head, whose decoder reads the text itself.
std::optional<Sequence> read_targets(const TraceFlags& flags, const ModelConfig& config,
                                     bool has_head) {
  if (has_head && !flags.target_ids.empty())
    throw InputError(
        "--target-ids: the adapter has a head, under which the decoder reads the text itself; "
        "leave it out");
  if (has_head) return std::nullopt;
  if (!config.is_encoder_decoder()) {
    if (!flags.target_ids.empty())
      throw InputError("--target-ids: expected with an encoder-decoder; a " + config.model_type +
                       " model has one stack, which reads --text or --ids");
    return std::nullopt;
  }
  check_ids("--target-ids", flags.target_ids, config.vocabulary, "ids");
  Sequence sequence;
  sequence.ids =
      flags.target_ids.empty() ? std::vector<int64_t>{config.decoder_start_id} : flags.target_ids;
  check_length("--target-ids", sequence, config, {});
  std::vector<bool> is_target(sequence.ids.size(), true);
  is_target.front() = false;  // the start token is all of the decoder's prompt, as in training
  sequence.asked = TargetMarks{std::move(is_target)};
  return sequence;
}

void add_hidden(NamedTensors& out, const std::string& prefix,
                const std::vector<at::Tensor>& hidden) {
  for (size_t i = 0; i < hidden.size(); ++i)
    out[prefix + "hidden." + std::to_string(i)] = hidden[i].to(at::kFloat).contiguous();
}

// What an encoder with a pooler computes, or any model under a head.
NamedTensors trace_classifier(const Model& model, const Pack& pack, const LaneAdapter& lane,
                              const ForwardOptions& options) {
  const LaneResult result = compute_logits(model, pack, {lane}, options).front();
  NamedTensors out;
  add_hidden(out, "", result.hidden);
  add_hidden(out, "dec.", result.decoder_hidden);
  if (result.logits.defined()) out["logits"] = result.logits.contiguous();
  if (result.pooled.defined()) out["pooled"] = result.pooled.contiguous();
  return out;
}

// What the stacks of a model without a head compute; a decoder's logits, too.
NamedTensors trace_stacks(const Model& model, const ModelInput& input, const LaneAdapter& lane,
                          const ForwardOptions& options) {
  const ForwardResult result = forward_lanes(model, input, {lane}, options);
  NamedTensors out;
  const bool has_both = input.encoder != nullptr && input.decoder != nullptr;
  add_hidden(out, "", result.hidden);
  add_hidden(out, "dec.", result.decoder_hidden);
  if (model.config.last().final_norm) {
    if (has_both) out["last"] = result.encoder_last.to(at::kFloat).contiguous();
    out[has_both ? "dec.last" : "last"] = result.last.to(at::kFloat).contiguous();
  }
  if (input.decoder != nullptr && model.config.has_output_layer())
    out["logits"] = whole_logits(result.last, lane.bound->weights().output_layer(model.config));
  return out;
}

int trace(const TraceFlags& flags) {
  const at::NoGradGuard no_grad;
  check_writable(flags.out);
  const auto model =
      load_model(flags.model, flags.precision, ignored_keys(flags.ignored_keys, {flags.adapter}));
  const ModelConfig& config = model->config;
  Sequence sequence = read_sequence(flags, *model);
  std::optional<LoadedAdapter> loaded;
  if (!flags.adapter.empty()) loaded = load_adapter(flags.adapter, *model);
  check_length(flags.ids.empty() ? "--text" : "--ids", sequence, config,
               loaded ? loaded->adapter.layout() : RowLayout{});
  const bool has_head = loaded && loaded->adapter.head() != nullptr;
  if (loaded && has_head && loaded->adapter.task()->cloze() != nullptr)
    sequence.asked = mask_of(sequence, *loaded->adapter.task(), flags, config);
  const std::optional<Sequence> targets = read_targets(flags, config, has_head);
  const EditTarget target{config, model->sites};
  const Adapter bare = Adapter::none(target);
  const BoundAdapter bound(*model, loaded ? loaded->adapter : bare,
                           loaded ? loaded->tensors : NamedTensors{});
  const PackOptions rows{1, config.position_offset, config.pad_id};
  const Pack pack = make_pack({{{&sequence}, bound.adapter().layout()}}, rows);
  ForwardOptions options;
  options.keep_hidden = true;
  NamedTensors out;
  if (targets) {
    Pack decoder = make_pack({{{&*targets}, {}}}, rows);
    decoder.sources = {0};
    out = trace_stacks(*model, {&pack, &decoder}, {&bound, {}}, options);
    out["dec.ids"] = decoder.ids;
  } else {
    // A stack that ends in a norm has no pooler behind it.
    const bool reads_states = !has_head && (config.has_decoder() || config.last().final_norm);
    out = reads_states ? trace_stacks(*model, input_of(config, pack), {&bound, {}}, options)
                       : trace_classifier(*model, pack, {&bound, {}}, options);
  }
  out["ids"] = pack.ids;
  save_safetensors(flags.out, out, {{"format", "graft-trace"}, {"version", "1"}});
  std::fprintf(messages_beside({flags.out}), "%zu tensors of %lld tokens in %s\n", out.size(),
               static_cast<long long>(pack.num_tokens), bare_name(flags.out).c_str());
  return 0;
}

}  // namespace

void add_trace(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "trace", "Write ids, hidden states and logits of one text to a safetensors file");
  auto flags = std::make_shared<TraceFlags>();
  command->add_option("--model", flags->model, "folder or GGUF file of the model")->required();
  add_ignored_keys(*command, flags->ignored_keys);
  command->add_option("--adapter", flags->adapter, "adapter folder; without it the bare model");
  command->add_option("--text", flags->text, "the text");
  command->add_option("--pair", flags->pair, "a second text");
  command->add_option("--ids", flags->ids, "token ids instead of a text: 101,7592,102")
      ->delimiter(',');
  command->add_option("--type-ids", flags->type_ids, "their segment types (default 0)")
      ->delimiter(',');
  command
      ->add_option("--target-ids", flags->target_ids,
                   "what the decoder of an encoder-decoder reads, its start token first (default: "
                   "that alone)")
      ->delimiter(',');
  accept_standard_output(
      *command->add_option("--out", flags->out, "file to write; -: the standard output")
           ->required());
  add_precision(*command, flags->precision);
  command->footer(
      "Example:\n  graft trace --model models/minilm --adapter runs/sst2/adapter --text \"a fine "
      "film\" --out trace.safetensors\n"
      "Tensors: ids [T], hidden.0 (embeddings) .. hidden.L [T,C] (what leaves each block);\n"
      "with an adapter that has a head logits [1,outputs], of an encoder pooled [1,C]; else of a "
      "decoder last [T,C] (behind the\n"
      "final norm, where there is one) and logits [T,vocabulary]; the decoder of two stacks has "
      "dec.ids, dec.hidden.I and "
      "dec.last.");
  command->callback([flags, &action] { action = [flags] { return trace(*flags); }; });
}

}  // namespace graft
