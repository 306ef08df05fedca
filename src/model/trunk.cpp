#include "model/trunk.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "base/error.h"
#include "model/checkpoint.h"
#include "model/checkpointed.h"
#include "model/stack.h"
#include "tensor/autograd_call.h"

namespace graft {

namespace {

using at::Tensor;

void check_pack(const Model& model, const Pack& pack) {
  const int64_t* positions = pack.positions.const_data_ptr<int64_t>();
  for (int64_t n = 0; n < pack.num_sequences(); ++n) {
    const RowRange& own = pack.sequences[static_cast<size_t>(n)];
    const int64_t length =
        own.end - own.begin + positions[own.begin] -
        model.config.position_offset;  // with positions that a prefix counts as its own
    if (length <= model.config.max_positions) continue;
    throw InputError(
        "example " + std::to_string(pack.spans->sequences[static_cast<size_t>(n)].example) +
        " takes " + std::to_string(length) + " positions; " + model.source + " serves at most " +
        std::to_string(model.config.max_positions) + ": set max_length lower");
  }
}

// A stack with all that its blocks read, which lives until the backward pass has computed them
// again.
struct LastingStack {
  LastingStack(const Model& model, const Weights& shared_weights, const Hooks& listening,
               const ForwardOptions& given, StackId id, const Pack& own,
               const EncoderStates& encoder)
      : weights(shared_weights),
        hooks(listening.copy()),
        options(given),
        pack(own),
        encoder_pack(encoder.pack != nullptr ? *encoder.pack : Pack{}),
        stack(model, weights, checked(hooks), options, id, pack,
              {encoder.rows, encoder.pack != nullptr ? &encoder_pack : nullptr}) {}

  static const Hooks& checked(const std::shared_ptr<const Hooks>& hooks) {
    ensure(hooks != nullptr, "blocks are computed twice only for hooks that can be asked twice");
    return *hooks;
  }

  Weights weights;
  std::shared_ptr<const Hooks> hooks;
  ForwardOptions options;
  Pack pack, encoder_pack;
  Stack stack;
};

// A block of which nothing is kept but what it reads. The losses of its edits are outputs of the
// computation; what else they gave is taken when it runs first.
Stack::Result checkpointed_block(const std::shared_ptr<LastingStack>& kept, int64_t layer,
                                 const Tensor& x, const WantedRows& wanted) {
  const Stack::Shared shared = kept->stack.shared();
  const auto side = std::make_shared<SideOutputs>();
  const auto compute = [kept, side, layer, wanted](const std::vector<Tensor>& inputs) {
    kept->stack.replace_inputs({inputs[1], inputs[2]});
    Stack::Result block = kept->stack.block(layer, inputs[0], wanted);
    std::vector<Tensor> outputs{std::move(block.x)};
    for (SideOutput& loss : block.side.losses) outputs.push_back(std::exchange(loss.value, {}));
    *side = std::move(block.side);
    return outputs;
  };
  const std::vector<Tensor> outputs =
      checkpointed(compute, {x, shared.encoder_rows, shared.distance_bias});
  kept->stack.replace_inputs(shared);
  Stack::Result out{outputs.front(), std::exchange(*side, {})};
  for (size_t i = 0; i < out.side.losses.size(); ++i) out.side.losses[i].value = outputs[i + 1];
  return out;
}

// Which rows of the last stack its last block computes, and which of them are read.
struct RowsRead {
  WantedRows computed, read;  // null: all
  Tensor index;               // of the rows read among those computed; undefined: they are the same

  void select(ForwardResult& result) const {
    if (read == nullptr) return;
    result.wanted = {read, &read->pack};
    if (index.defined()) result.last = result.last.index_select(0, index);
  }
};

RowsRead rows_read(const Pack& pack, const Hooks& hooks, const ForwardOptions& options) {
  if (options.wanted.empty()) return {};
  std::vector<bool> keeps_lane;
  for (size_t lane = 0; lane < pack.lanes.size(); ++lane)
    keeps_lane.push_back(options.keep_hidden || hooks.needs_all_rows(lane));
  const auto kept = std::count(keeps_lane.begin(), keeps_lane.end(), true);
  const auto read =
      std::make_shared<const NarrowedPack>(narrowed(pack, options.wanted, options.round_rows_to));
  if (kept == 0) return {read, read, {}};
  if (kept == std::ssize(keeps_lane))
    return {std::make_shared<const NarrowedPack>(NarrowedPack{pack, {}}), read, read->index};
  const auto computed = std::make_shared<const NarrowedPack>(
      narrowed(pack, options.wanted, options.round_rows_to, keeps_lane));
  return {computed, read, rows_within(pack, *read, computed->pack, keeps_lane)};
}

using Block =
    std::function<Stack::Result(int64_t layer, const Tensor& x, const WantedRows& wanted)>;

// [T, C] of a pack: the rows of its sequences, and fillers around them.
Tensor laid_out(const Pack& pack, const std::vector<Tensor>& sequences, const Tensor& filler) {
  ensure(std::ssize(sequences) == pack.num_sequences(), "rows of every sequence are known");
  std::vector<Tensor> parts;
  int64_t row = 0;
  const auto fill_to = [&](int64_t end) {
    if (end > row) parts.push_back(filler.expand({end - row, -1}));
    row = end;
  };
  for (size_t n = 0; n < sequences.size(); ++n) {
    const RowRange& own = pack.sequences[n];
    fill_to(own.begin);
    ensure(sequences[n].size(0) == own.end - own.begin, "all rows of a sequence are known");
    parts.push_back(sequences[n]);
    row = own.end;
  }
  fill_to(pack.num_rows);
  return at::cat(parts, 0);
}

// One forward pass: what its stacks are made of.
struct Pass {
  const Model& model;
  const Weights& weights;
  const Hooks& hooks;
  const ForwardOptions& options;

  // Those below it are not computed.
  int64_t first_block(StackId id) const {
    return options.from != nullptr && options.from->at.stack == id ? options.from->at.layer : 0;
  }

  // The last states of a stack, after its last norm; where the pass ends in it, what stands there.
  // Hidden states and what edits gave go into `result`.
  Tensor stack(StackId id, const Pack& pack, const EncoderStates& encoder, const WantedRows& wanted,
               ForwardResult& result) const {
    const int64_t layers = model.config.stack(id).layers;
    const bool ends = options.until && options.until->stack == id;
    const int64_t end = ends ? options.until->layer : layers;
    std::vector<Tensor>& hidden = id == StackId::kDecoder && model.config.has_encoder()
                                      ? result.decoder_hidden
                                      : result.hidden;
    const auto run = [&](Stack& stack, const Block& block) {
      const auto taken = [&](Stack::Result made) {
        result.side.append(std::move(made.side));
        if (options.keep_hidden) hidden.push_back(made.x);
        return std::move(made.x);
      };
      int64_t layer = first_block(id);
      const Pack& own = layer == layers && wanted != nullptr ? wanted->pack : pack;
      Tensor x = layer > 0 ? laid_out(own, options.from->rows, options.from->filler)
                           : taken(stack.embed());
      for (; layer < end; ++layer)
        x = taken(block(layer, x, layer + 1 == layers ? wanted : nullptr));
      return ends ? x : stack.finish(x);
    };
    if (!options.saves_memory || !at::GradMode::is_enabled()) {
      Stack stack(model, weights, hooks, options, id, pack, encoder);
      return run(stack, [&](int64_t layer, const Tensor& x, const WantedRows& rows) {
        return stack.block(layer, x, rows);
      });
    }
    ensure(options.cache == nullptr, "nothing in a cache is differentiated");
    const auto kept =
        std::make_shared<LastingStack>(model, weights, hooks, options, id, pack, encoder);
    return run(kept->stack, [&](int64_t layer, const Tensor& x, const WantedRows& rows) {
      const Stack::Shared shared = kept->stack.shared();
      const bool is_recorded = needs_graph({x, shared.encoder_rows, shared.distance_bias}) ||
                               kept->stack.has_trained_tensors(layer);
      return is_recorded ? checkpointed_block(kept, layer, x, rows)
                         : kept->stack.block(layer, x, rows);
    });
  }
};

}  // namespace

std::shared_ptr<const Model> load_model(const Path& path, Precision precision,
                                        const IgnoredKeys& ignored) {
  ModelConfig config = read_config(path, ignored);
  std::vector<std::shared_ptr<const MappedFile>> files;
  NamedTensors base = load_base(path, config, scalar_type(precision), &files);
  Sites sites(config);
  std::shared_ptr<const Model> model;
  with_context("loading the model in '" + path.string() + "'", [&] {
    Weights weights(config, std::move(base), precision, std::move(files));
    weights.release_pages();  // all of it was read to check it
    model = std::make_shared<const Model>(
        Model{path.string(), std::move(config), std::move(sites), std::move(weights)});
  });
  return model;
}

PackOptions pack_options(const Model& model) {
  return {.round_rows_to = kRowsRounding,
          .position_offset = model.config.position_offset,
          .pad_id = model.config.pad_id};
}

DropoutRates trunk_dropout(const ModelConfig& config, std::optional<double> rate) {
  return {.embed = rate.value_or(config.embed_dropout),
          .hidden = rate.value_or(config.hidden_dropout),
          .attention = rate.value_or(config.attention_dropout),
          .activation = rate.value_or(config.activation_dropout)};
}

Tensor mask_states(const ModelConfig& config, const Weights& weights, const Tensor& rows) {
  return mask_states_behind(config, weights, weights.linear(kMaskDensePlace, rows));
}

Tensor mask_states_behind(const ModelConfig& config, const Weights& weights, const Tensor& y) {
  const MaskHeadConfig& head = config.mask_head.value();
  const Tensor activated = activate(y, head.activation);
  const Place norm{.part = Part::kMaskNorm};
  const Tensor bias = head.norm.has_bias ? weights.at(bias_of(norm)) : Tensor();
  return norm_of_sum(activated, {}, weights.at(weight_of(norm)), bias, head.norm.epsilon);
}

ModelInput input_of(const ModelConfig& config, const Pack& pack) {
  ensure(!config.is_encoder_decoder(), "a model of two stacks reads two packs");
  return config.has_encoder() ? ModelInput{&pack, nullptr} : ModelInput{nullptr, &pack};
}

ForwardResult forward(const Model& model, const Weights& weights, const ModelInput& input,
                      const Hooks& hooks, const ForwardOptions& options) {
  const ModelConfig& config = model.config;
  ensure(input.decoder != nullptr || (input.encoder != nullptr && !config.has_decoder()),
         "every stack that runs gets its rows");
  ensure(options.from == nullptr || (options.cache == nullptr && !options.keep_hidden),
         "a pass that begins within the trunk fills no cache, and keeps no states");
  const Pass pass{model, weights, hooks, options};
  const RowsRead rows = rows_read(input.last(), hooks, options);
  ForwardResult result;
  EncoderStates encoder;
  if (input.encoder != nullptr) {
    check_pack(model, *input.encoder);
    const bool is_known = options.from != nullptr && options.from->at.stack == StackId::kDecoder;
    result.last = is_known ? laid_out(*input.encoder, options.from->encoder_rows,
                                      options.from->encoder_filler)
                           : pass.stack(StackId::kEncoder, *input.encoder, {},
                                        config.has_decoder() ? nullptr : rows.computed, result);
    encoder = {result.last, input.encoder};
  }
  if (input.decoder == nullptr) {
    rows.select(result);
    return result;
  }
  if (options.until && options.until->stack == StackId::kEncoder) return result;
  check_pack(model, *input.decoder);
  if (config.has_encoder()) result.encoder_last = std::move(result.last);
  if (options.cache != nullptr) options.cache->open(*input.decoder);
  result.last = pass.stack(StackId::kDecoder, *input.decoder, encoder, rows.computed, result);
  if (options.cache != nullptr) options.cache->close();
  rows.select(result);
  return result;
}

}  // namespace graft
