#include "model/gguf_model.h"

#include <ATen/ATen.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "model/families.h"
#include "tensor/fingerprint.h"

namespace graft {

namespace {

bool has_gguf_name(const Path& path) { return path.extension() == ".gguf"; }

std::vector<Path> gguf_files_in(const Path& folder) {
  std::vector<Path> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (has_gguf_name(entry.path()) && !entry.is_directory()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// ggml's names; '#' stands for the layer.
constexpr std::pair<Part, const char*> kLayers[] = {{Part::kEmbedWord, "token_embd"},
                                                    {Part::kAttnNorm, "blk.#.attn_norm"},
                                                    {Part::kAttnQ, "blk.#.attn_q"},
                                                    {Part::kAttnK, "blk.#.attn_k"},
                                                    {Part::kAttnQNorm, "blk.#.attn_q_norm"},
                                                    {Part::kAttnKNorm, "blk.#.attn_k_norm"},
                                                    {Part::kAttnV, "blk.#.attn_v"},
                                                    {Part::kAttnO, "blk.#.attn_output"},
                                                    {Part::kFfnNorm, "blk.#.ffn_norm"},
                                                    {Part::kFfnGate, "blk.#.ffn_gate"},
                                                    {Part::kFfnUp, "blk.#.ffn_up"},
                                                    {Part::kFfnDown, "blk.#.ffn_down"},
                                                    {Part::kNorm, "output_norm"},
                                                    {Part::kLm, "output"}};

// dec.3.attn.q.weight -> "blk.3.attn_q.weight".
std::string gguf_name(const TensorId& tensor) {
  const auto* const found =
      std::find_if(std::begin(kLayers), std::end(kLayers),
                   [&](const auto& layer) { return layer.first == tensor.place.part; });
  if (found == std::end(kLayers))
    throw InternalError("no GGUF name for the tensor '" + to_name(tensor) + "'");
  std::string name = found->second;
  if (tensor.place.layer >= 0) name.replace(name.find('#'), 1, std::to_string(tensor.place.layer));
  return name + (tensor.kind == TensorKind::kWeight ? ".weight" : ".bias");
}

// Rotary positions turn pairs of a head's numbers. ggml's llama pairs neighbours (2i, 2i + 1), the
// trunk i with i + D/2, so the converter laid the rows of q and k out anew: back to the trunk's
// order. `rows` [K * D, ...]
at::Tensor split_pairs(const at::Tensor& rows, int64_t heads) {
  const int64_t pairs = rows.size(0) / heads / 2;
  return rows.view({heads, pairs, 2, -1}).transpose(1, 2).reshape(rows.sizes());
}

void check_finite(const at::Tensor& tensor, const std::string& about) {
  const auto [least, most] = at::aminmax(tensor);  // both are NaN if any number is
  if (at::isfinite(least + most).item<bool>() && at::isfinite(most).item<bool>()) return;
  throw InputError(
      about + "holds numbers that are not finite: the file is damaged; copy or download it again");
}

at::Tensor load_tensor(const GgufFile& file, const GgufTensor& stored, const TensorSlot& slot,
                       const ModelConfig& config, bool has_neighbour_pairs, at::ScalarType dtype) {
  const std::string about = file.source() + ": tensor " + quote(stored.name) + ": ";
  if (stored.shape != slot.shape)
    throw InputError(about + "expected " + shape_text(slot.shape) + ", found " +
                     shape_text(stored.shape));
  at::Tensor tensor = file.read(stored, dtype);
  check_finite(tensor, about);
  const Part part = slot.id.place.part;
  if (has_neighbour_pairs && part == Part::kAttnQ)
    tensor = split_pairs(tensor, config.last().heads);
  if (has_neighbour_pairs && part == Part::kAttnK)
    tensor = split_pairs(tensor, config.last().key_heads);
  return tensor;
}

void refuse_unused(const GgufFile& file, std::set<std::string> used) {
  used.insert("rope_freqs.weight");  // read with the config
  std::vector<std::string> unknown;
  for (const GgufTensor& tensor : file.tensors()) {
    if (!used.contains(tensor.name)) unknown.push_back(quote(tensor.name));
  }
  if (unknown.empty()) return;
  throw InputError(file.source() + ": " + std::to_string(unknown.size()) +
                   " tensors belong to no part of the model that the metadata describes: " +
                   joined_first(unknown, 5));
}

ModelConfig config_of(const GgufFile& file, const IgnoredKeys& ignored) {
  std::vector<std::string> passed_over;
  const Node json = gguf_config_json(file, ignored, &passed_over);
  ModelConfig config = parse_config(json, file.source() + " as config.json");
  config.ignored_keys = std::move(passed_over);
  return config;
}

// The tensor of one slot.
at::Tensor load_slot(const GgufFile& file, const GgufForm& form, const TensorSlot& slot,
                     const ModelConfig& config, at::ScalarType dtype) {
  const std::string name = gguf_name(slot.id);
  const GgufTensor* const stored = file.find(name);
  if (stored != nullptr)
    return load_tensor(file, *stored, slot, config, form.pairs_neighbours, dtype);
  const bool is_output_bias =
      slot.id == bias_of({StackId::kDecoder, slot.id.place.layer, Part::kAttnO});
  if (is_output_bias && form.lacks_output_bias) return at::zeros(slot.shape, dtype);
  throw InputError(file.source() + ": tensor " + quote(name) + " is missing");
}

// In pieces that stay in the processor's cache: the numbers are wanted for this alone.
std::string fingerprint_by_rows(const GgufFile& file, const GgufTensor& stored) {
  constexpr int64_t kPieceNumbers = int64_t{1} << 19;
  const int64_t rows = stored.shape[0], width = c10::multiply_integers(stored.shape) / rows;
  const int64_t most = std::max<int64_t>(kPieceNumbers / width, 1);
  PiecewiseFingerprint whole;
  for (int64_t first = 0; first < rows; first += most)
    whole.add(file.read_rows(stored, first, std::min(most, rows - first), at::kFloat));
  return whole.text(at::kFloat, stored.shape);
}

NamedTensors load_tensors(const GgufFile& file, const ModelConfig& config, at::ScalarType dtype) {
  const GgufForm& form = gguf_form(file.metadata()).second;
  NamedTensors tensors;
  std::set<std::string> used;
  for (const TensorSlot& slot : tensor_slots(config)) {
    tensors.emplace(slot.name(), load_slot(file, form, slot, config, dtype));
    used.insert(gguf_name(slot.id));
    file.release_pages();
  }
  refuse_unused(file, std::move(used));
  return tensors;
}

}  // namespace

bool is_gguf(const Path& model) {
  if (!std::filesystem::is_directory(model)) return has_gguf_name(model);
  return !std::filesystem::exists(model / "config.json") && !gguf_files_in(model).empty();
}

Path gguf_file(const Path& model) {
  if (!std::filesystem::is_directory(model)) return model;
  const std::vector<Path> files = gguf_files_in(model);
  if (files.size() == 1) return files[0];
  std::vector<std::string> names;
  for (const Path& file : files) names.push_back(quote(file.filename().string()));
  throw InputError(
      "'" + model.string() + "': expected one .gguf file, found " +
      (files.empty() ? "none" : joined_first(names, 5) + "; name the one that is meant"));
}

GgufModel load_gguf_model(const Path& model, at::ScalarType dtype, const IgnoredKeys& ignored) {
  const GgufFile file(gguf_file(model));
  GgufModel loaded{config_of(file, ignored), {}, {file.mapping()}};
  loaded.tensors = load_tensors(file, loaded.config, dtype);
  return loaded;
}

std::map<std::string, std::string> gguf_fingerprints(const GgufFile& file,
                                                     const ModelConfig& config,
                                                     const std::function<void()>& after_tensor) {
  const GgufForm& form = gguf_form(file.metadata()).second;
  std::map<std::string, std::string> out;
  for (const TensorSlot& slot : tensor_slots(config)) {
    const GgufTensor* const stored = file.find(gguf_name(slot.id));
    const Part part = slot.id.place.part;
    const bool has_other_order =
        form.pairs_neighbours && (part == Part::kAttnQ || part == Part::kAttnK);
    const bool is_read_by_rows = stored != nullptr && stored->shape.size() > 1 && !has_other_order;
    out.emplace(slot.name(), is_read_by_rows
                                 ? fingerprint_by_rows(file, *stored)
                                 : fingerprint(load_slot(file, form, slot, config, at::kFloat)));
    after_tensor();
  }
  return out;
}

ModelConfig read_gguf_config(const Path& model, const IgnoredKeys& ignored) {
  return config_of(GgufFile(gguf_file(model)), ignored);
}

Node gguf_config_json(const Path& model) { return gguf_config_json(GgufFile(gguf_file(model))); }

std::optional<std::string> gguf_chat_template(const GgufMetadata& metadata) {
  if (!metadata.has("tokenizer.chat_template")) return std::nullopt;
  return metadata.text("tokenizer.chat_template", std::nullopt);
}

}  // namespace graft
