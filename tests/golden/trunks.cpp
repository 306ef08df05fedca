#include "tests/golden/trunks.h"

#include <ATen/ATen.h>

#include <set>

#include "tensor/safetensors.h"

namespace graft::testing {

using at::Tensor;

const Node& trunk_manifest() {
  static const Node node = golden_manifest("trunks");
  return node;
}

const Node& trunk_entry(const std::string& name) {
  return *trunk_manifest().find("models")->find(name);
}

std::vector<std::string> trunk_names() {
  std::vector<std::string> names;
  for (const auto& [name, entry] : trunk_manifest().find("models")->members) {
    if (entry.find("storage")->scalar != "logits-bias")
      names.push_back(name);  // that one is refused
  }
  return names;
}

std::vector<std::string> trained_trunk_names() {
  std::vector<std::string> names = trunk_names();
  std::erase_if(names,
                [](const std::string& name) { return trunk_entry(name).find("loss") == nullptr; });
  return names;
}

std::vector<int64_t> integers_of(const Tensor& tensor) {
  const Tensor plain = tensor.to(at::kLong).contiguous();
  return {plain.const_data_ptr<int64_t>(), plain.const_data_ptr<int64_t>() + plain.numel()};
}

namespace {

// Sequences cut from rows end to end, but for those of more than `most` tokens; `index` [T]
// receives the rows that stay.
std::vector<Sequence> cut(const NamedTensors& file, const std::string& prefix, int64_t most,
                          Tensor& index) {
  const Tensor& ids = file.at(prefix + "ids");
  std::vector<Sequence> kept;
  std::vector<int64_t> rows;
  int64_t begin = 0;
  for (Sequence& sequence : cut_sequences(ids, at::zeros_like(ids), file.at(prefix + "lengths"))) {
    const auto length = static_cast<int64_t>(sequence.ids.size());
    for (int64_t row = begin; row < begin + length && length <= most; ++row) rows.push_back(row);
    if (length <= most) kept.push_back(std::move(sequence));
    begin += length;
  }
  index = at::tensor(rows, at::kLong);
  return kept;
}

}  // namespace

GoldenTrunk::GoldenTrunk(const std::string& given, Precision precision)
    : name(given), model(golden_model(given, precision, "trunks")) {
  expected = load_safetensors(golden_dir("trunks") / name / "expected.safetensors").tensors;
  sequences = cut(expected, "", model->config.max_positions, rows);
  if (has_two_stacks())
    targets = cut(expected, "target_", model->config.max_positions, target_rows);
}

bool GoldenTrunk::is_of_targets(const std::string& tensor) const {
  return !has_two_stacks() || tensor.starts_with("dec.") || tensor == "logits";
}

Tensor GoldenTrunk::rows_of(const std::string& tensor, int64_t n) const {
  const bool is_second = has_two_stacks() && is_of_targets(tensor);
  const Tensor all = expected.at(tensor).index_select(0, is_second ? target_rows : rows);
  if (n < 0) return all;
  const std::vector<Sequence>& cut_from = is_second ? targets : sequences;
  int64_t begin = 0;
  for (int64_t i = 0; i < n; ++i)
    begin += static_cast<int64_t>(cut_from[static_cast<size_t>(i)].ids.size());
  return all.slice(0, begin,
                   begin + static_cast<int64_t>(cut_from[static_cast<size_t>(n)].ids.size()));
}

std::string GoldenTrunk::last_states() const {
  const ModelConfig& config = model->config;
  if (config.last().final_norm) return has_two_stacks() ? "dec.last" : "last";
  return has_two_stacks() ? "dec.hidden." + std::to_string(config.decoder_layers())
                          : "hidden." + std::to_string(config.encoder_layers());
}

NamedTensors GoldenTrunk::outputs(int64_t n) const {
  static const std::set<std::string> kInputs = {
      "ids", "lengths", "target_ids", "target_lengths", "prompt_lengths", "labels"};
  NamedTensors out;
  for (const auto& [tensor, values] : expected) {
    if (kInputs.contains(tensor) || (tensor == "logits" && !model->config.has_decoder())) continue;
    out[tensor] = rows_of(tensor, n).to(model->weights.dtype());
  }
  return out;
}

TrunkPacks::TrunkPacks(const Model& model, const std::vector<Sequence>& sequences,
                       const std::vector<Sequence>& targets, int64_t round_rows_to) {
  first = pack_of(model, {lane_of(sequences)}, round_rows_to);
  if (targets.empty()) {
    input = input_of(model.config, first);
    return;
  }
  second = pack_of(model, {lane_of(targets)}, round_rows_to);
  for (int64_t n = 0; n < second.num_sequences(); ++n) second.sources.push_back(n);
  input = {&first, &second};
}

}  // namespace graft::testing
