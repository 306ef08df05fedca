#include "model/trunk.h"

#include <ATen/ops/index_select.h>

#include <cmath>

#include "base/error.h"
#include "tensor/fused.h"

namespace graft {

namespace {

using at::Tensor;

// One forward pass; a method per part of the encoder.
class Encoder {
 public:
  Encoder(const Model& model, const Weights& weights, Hooks& hooks, const ForwardOptions& options)
      : config_(model.config), sites_(model.sites), weights_(weights), hooks_(hooks), options_(options) {}

  Tensor embed(const Pack& pack) {
    const Tensor words = changed(sites_.word(), pack, {}, weights_.rows("embed.word.weight", pack.ids));
    const Tensor sum = words + weights_.rows("embed.position.weight", pack.positions) +
                       weights_.rows("embed.type.weight", pack.type_ids);
    const Tensor normed = norm("embed.norm", sum, {}, {});
    return changed(sites_.embed(), pack, {}, dropout(normed, hidden_dropout(sites_.embed(), pack)));
  }

  // x: [T, C]. Returns [T, C], or the first row of each sequence.
  Tensor block(int64_t layer, const Pack& pack, Tensor x, bool first_rows_only) {
    const BlockSites& s = sites_.block(layer);
    const std::string name = "enc." + std::to_string(layer) + ".";
    const Tensor k = changed_linear(s.k, pack, x);   // [T, C]
    const Tensor v = changed_linear(s.v, pack, x);   // [T, C]
    const std::vector<LanePrefix> prefixes =
        hooks_.wants(s.attention) ? hooks_.prefix({s.attention, pack, pack.whole(), x, {}, {}, {}}) : std::vector<LanePrefix>{};

    Pack narrowed;
    if (first_rows_only) {
      Tensor first_rows;
      narrowed = first_rows_of(pack, first_rows);
      x = x.index_select(0, first_rows);   // [N, C]
    }
    const Pack& rows = first_rows_only ? narrowed : pack;
    const Tensor q = changed_linear(s.q, rows, x);
    const Tensor mixed = packed_attention(q, k, v, rows.spans, attention_options(s.attention), prefixes);
    const Tensor o = changed_linear(s.o, rows, mixed);
    const Tensor h = add_and_norm(s.attn_out, s.attn_norm, name + "attn.norm", rows, mixed, o, x);

    Tensor a = activate(changed_linear(s.up, rows, h), config_.activation);   // [T, F]
    a = changed(s.act, rows, h, a);
    const Tensor down = changed_linear(s.down, rows, a);
    const Tensor out = add_and_norm(s.ffn_out, s.ffn_norm, name + "ffn.norm", rows, h, down, h);
    return changed(s.out, rows, {}, out);
  }

 private:
  Tensor changed(const Site& site, const Pack& pack, const Tensor& x, const Tensor& y) {
    return hooks_.wants(site) ? hooks_.apply({site, pack, pack.whole(), x, y, {}, {}}) : y;
  }

  Tensor changed_linear(const Site& site, const Pack& pack, const Tensor& x) {
    return changed(site, pack, x, weights_.linear(site.name, x));
  }

  // norm(dropout(y) + residual), in one pass over the rows unless somebody listens between dropout and sum.
  Tensor add_and_norm(const Site& sublayer, const Site& norm_site, const std::string& norm_name, const Pack& pack, const Tensor& x,
                      const Tensor& y, const Tensor& residual) {
    const RowDropout drop = hidden_dropout(sublayer, pack);
    Tensor out;
    if (hooks_.wants(sublayer)) {
      const auto own_norm = [&](const Tensor& u) { return norm(norm_name, u, {}, {}); };
      const Tensor kept = hooks_.apply({sublayer, pack, pack.whole(), x, dropout(y, drop), residual, own_norm});
      out = norm(norm_name, kept, residual, {});
    } else {
      out = norm(norm_name, y, residual, drop);
    }
    return changed(norm_site, pack, {}, out);
  }

  Tensor norm(const std::string& name, const Tensor& x, const Tensor& residual, const RowDropout& drop) {
    return add_norm(x, residual, weights_.at(name + ".weight"), weights_.at(name + ".bias"), config_.norm_epsilon, drop);
  }

  RowDropout hidden_dropout(const Site& site, const Pack& pack) const {
    if (options_.hidden_dropout == 0.0) return {};
    return {options_.hidden_dropout, options_.key.with(site.name), pack.rows};
  }

  AttentionOptions attention_options(const Site& site) const {
    AttentionOptions attention;
    attention.num_heads = attention.num_key_heads = config_.heads;
    attention.scale = 1.0 / std::sqrt(static_cast<double>(config_.head_width()));
    attention.dropout = options_.attention_dropout;
    attention.dropout_key = options_.key.with(site.name);
    return attention;
  }

  const ModelConfig& config_;
  const Sites& sites_;
  const Weights& weights_;
  Hooks& hooks_;
  const ForwardOptions& options_;
};

void check_pack(const Model& model, const Pack& pack) {
  const int64_t* positions = pack.positions.const_data_ptr<int64_t>();
  for (int64_t n = 0; n < pack.num_sequences(); ++n) {
    const int64_t begin = pack.offsets[static_cast<size_t>(n)], rows = pack.offsets[static_cast<size_t>(n) + 1] - begin;
    const int64_t length = rows + positions[begin] - model.config.position_offset;   // with positions that a prefix counts as its own
    if (length <= model.config.max_positions) continue;
    throw InputError("example " + std::to_string(pack.spans->sequences[static_cast<size_t>(n)].example) + " takes " + std::to_string(length) +
                     " positions; " + model.source + " serves at most " + std::to_string(model.config.max_positions) + ": set max_length lower");
  }
}

}  // namespace

std::shared_ptr<const Model> load_model(const Path& dir, Precision precision) {
  ModelConfig config = load_config(dir);
  std::vector<std::shared_ptr<const MappedFile>> files;
  NamedTensors base = load_base(dir, config, &files);
  Sites sites(config);
  std::shared_ptr<const Model> model;
  with_context("loading the model in '" + dir.string() + "'", [&] {
    Weights weights(config, std::move(base), precision, std::move(files));
    weights.release_pages();   // all of it was read to check it
    model = std::make_shared<const Model>(Model{dir.string(), std::move(config), std::move(sites), std::move(weights)});
  });
  return model;
}

ForwardResult forward(const Model& model, const Weights& weights, const Pack& pack, Hooks& hooks, const ForwardOptions& options) {
  ensure(!(options.keep_hidden && options.first_rows_only), "hidden states of all rows are kept only by a full forward pass");
  check_pack(model, pack);
  Encoder encoder(model, weights, hooks, options);
  ForwardResult result;
  result.last = encoder.embed(pack);
  if (options.keep_hidden) result.hidden.push_back(result.last);
  for (int64_t layer = 0; layer < model.config.layers; ++layer) {
    result.last = encoder.block(layer, pack, result.last, options.first_rows_only && layer + 1 == model.config.layers);
    if (options.keep_hidden) result.hidden.push_back(result.last);
  }
  return result;
}

}  // namespace graft
