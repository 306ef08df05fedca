#include "infer/kept_rows.h"

#include <c10/core/ScalarType.h>

#include <algorithm>
#include <utility>

#include "edit/first_change.h"
#include "model/classified.h"
#include "model/language_batch.h"

namespace graft {

namespace {

using at::Tensor;

constexpr double kTensorBytes = 320;  // of a tensor beside its values

bool is_behind_all(const TrunkPoint& at, const ModelConfig& config) {
  return at == TrunkPoint{config.last_stack(), config.last().layers};
}

bool has_encoder_beside(const TrunkPoint& at, const ModelConfig& config) {
  return at.stack == StackId::kDecoder && config.has_encoder();
}

}  // namespace

std::optional<KeptPlace> kept_place(const Adapter& adapter, const ModelConfig& config,
                                    bool is_text) {
  KeptPlace place{first_change(adapter, config), adapter.layout(), is_text};
  // Of a text's last block only the rows that predict are computed, and are many: the block reads
  // fewer than it would give.
  if (is_text && is_behind_all(place.at, config)) --place.at.layer;
  if (place.at.layer == 0 && !has_encoder_beside(place.at, config)) return std::nullopt;
  return place;
}

int64_t kept_bytes(const KeptPlace& place, const ModelConfig& config, Precision precision,
                   double rows, double tokens, double targets) {
  const bool has_both = has_encoder_beside(place.at, config);
  const bool is_read =
      !place.is_text && is_behind_all(place.at, config) && config.read_row != ReadRow::kMean;
  double kept = is_read ? rows : has_both && place.is_text ? targets : tokens;
  if (place.at.layer == 0) kept = 0;
  if (has_both) kept += tokens;
  const auto item = static_cast<int64_t>(c10::elementSize(scalar_type(precision)));
  kept *= static_cast<double>(config.width * item);
  return static_cast<int64_t>(kept + rows * kTensorBytes * (has_both ? 2 : 1));
}

int64_t kept_bytes(const KeptPlace& place, const ModelConfig& config, Precision precision,
                   const Dataset& data) {
  double tokens = 0, targets = 0;
  for (const Sequence& sequence : data.sequences) {
    const auto own = static_cast<int64_t>(sequence.ids.size()) + place.layout.virtual_rows;
    tokens += static_cast<double>(std::max(own, place.layout.padded_length));
    targets += static_cast<double>(sequence.target_ids().size());
  }
  return kept_bytes(place, config, precision, static_cast<double>(data.size()), tokens, targets);
}

KeptRows::KeptRows(std::shared_ptr<const Model> model, std::shared_ptr<const Dataset> data,
                   KeptPlace place)
    : model_(std::move(model)), data_(std::move(data)), place_(place) {
  const auto count = static_cast<size_t>(data_->size());
  all_.at = place_.at;
  all_.rows.resize(count);
  if (has_encoder_beside(place_.at, model_->config)) all_.encoder_rows.resize(count);
}

void KeptRows::add(const std::vector<int64_t>& rows, KnownRows& known) {
  const bool has_both = !all_.encoder_rows.empty(), has_own = place_.at.layer > 0;
  const std::vector<Tensor>& kept = has_own ? all_.rows : all_.encoder_rows;
  std::vector<int64_t> missing;
  for (const int64_t row : rows) {
    const bool is_asked = std::find(missing.begin(), missing.end(), row) != missing.end();
    if (!kept[static_cast<size_t>(row)].defined() && !is_asked) missing.push_back(row);
  }
  if (!missing.empty()) compute(missing);
  known.at = place_.at;
  known.filler = all_.filler;
  known.encoder_filler = all_.encoder_filler;
  for (const int64_t row : rows) {
    if (has_own) known.rows.push_back(all_.rows[static_cast<size_t>(row)]);
    if (has_both) known.encoder_rows.push_back(all_.encoder_rows[static_cast<size_t>(row)]);
  }
}

// The bare trunk up to the point.
ForwardResult KeptRows::forward_bare(std::vector<const Sequence*> sequences, int64_t round_rows_to,
                                     Packs& packs) const {
  const at::NoGradGuard no_grad;
  const ModelConfig& config = model_->config;
  const LaneInput lane{.sequences = std::move(sequences), .layout = place_.layout};
  PackOptions packing = pack_options(*model_);
  packing.round_rows_to = round_rows_to;
  ForwardOptions options;
  options.until = place_.at;
  const NoHooks nobody;
  const auto run = [&](const ModelInput& input) {
    ForwardResult result = forward(*model_, model_->weights, input, nobody, options);
    packs.first = input.encoder != nullptr ? *input.encoder : *input.decoder;
    packs.last = result.wanted != nullptr               ? *result.wanted
                 : place_.at.stack == StackId::kDecoder ? *input.decoder
                                                        : packs.first;
    return result;
  };
  if (place_.is_text) return run(make_language_batch(*model_, {lane}, packing).input());
  const Pack texts = make_pack({lane}, packing);
  const ClassifiedPack read = classified_pack(*model_, texts);
  if (is_behind_all(place_.at, config) && !read.reads_mean) options.wanted = read.wanted;
  return run(read.input(config));
}

void KeptRows::compute(const std::vector<int64_t>& rows) {
  if (!all_.filler.defined() && !all_.encoder_filler.defined()) compute_filler();
  std::vector<const Sequence*> sequences;
  for (const int64_t row : rows) sequences.push_back(&data_->sequences[static_cast<size_t>(row)]);
  Packs packs;
  const ForwardResult result = forward_bare(std::move(sequences), kRowsRounding, packs);
  const auto cut = [](const Tensor& all, const RowRange& own) {
    return all.slice(0, own.begin, own.end).clone();
  };
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<size_t>(rows[i]);
    // add() asks for the one that is kept last: with it both are there, also where memory ends
    // between them.
    if (!all_.encoder_rows.empty())
      all_.encoder_rows[row] = cut(result.encoder_last, packs.first.sequences[i]);
    if (place_.at.layer > 0) all_.rows[row] = cut(result.last, packs.last.sequences[i]);
  }
}

// All filler rows are alike: no sequence is theirs, and none attends to them. Here they stand
// behind a short sequence.
void KeptRows::compute_filler() {
  const int64_t end_id = model_->config.end_id;
  Sequence one{.ids = {data_->sequences.front().ids.front()}};
  if (end_id >= 0) one.ids.push_back(end_id);
  if (place_.is_text && model_->config.has_encoder()) one.asked = TargetIds{one.ids};
  const int64_t rows =
      std::max(one.num_tokens() + place_.layout.virtual_rows, place_.layout.padded_length);
  Packs packs;
  const ForwardResult result = forward_bare({&one}, rows + 1, packs);
  const auto last_row = [](const Tensor& all) { return all.slice(0, all.size(0) - 1).clone(); };
  const bool has_own = place_.at.layer > 0, has_both = !all_.encoder_rows.empty();
  Tensor own = has_own ? last_row(result.last) : Tensor(),
         of_encoder = has_both ? last_row(result.encoder_last) : Tensor();
  all_.filler = std::move(own);
  all_.encoder_filler = std::move(of_encoder);
}

std::shared_ptr<KeptRows> KeptPool::get(const std::shared_ptr<const Model>& model,
                                        const std::shared_ptr<const Dataset>& data,
                                        const KeptPlace& place) {
  std::erase_if(kept_, [](const auto& each) { return each.second.expired(); });
  std::weak_ptr<KeptRows>& kept = kept_[{model.get(), data.get(), place}];
  std::shared_ptr<KeptRows> found = kept.lock();
  if (found == nullptr) kept = found = std::make_shared<KeptRows>(model, data, place);
  return found;
}

}  // namespace graft
