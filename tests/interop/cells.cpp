#include "tests/interop/cells.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include "interop/probes.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing {

namespace {

constexpr Tolerance kFloat{1e-5, 1e-4};

uint64_t seed_of(const std::string& name) {  // FNV-1a
  uint64_t value = 0xCBF29CE484222325;
  for (const char byte : name) value = (value ^ static_cast<unsigned char>(byte)) * 0x100000001B3;
  return value;
}

// PEFT may write a saved module's tensor a second time, under the name of its wrapper.
std::string without_wrapper(std::string name) {
  for (const std::string wrapper : {".modules_to_save.default", ".modules_to_save"}) {
    const size_t at = name.find(wrapper);
    if (at != std::string::npos) name.erase(at, wrapper.size());
  }
  return name;
}

// Numbers in -1/4 .. 1/4 by splitmix64, around 1 where a tensor multiplies.
at::Tensor filled(const std::string& stored_name, const std::vector<int64_t>& shape) {
  const std::string name = without_wrapper(stored_name);
  const size_t pool = name.find(
      "prefix_tunings.");  // which every layer of AdapterHub holds again, under another name
  const uint64_t seed = seed_of(pool == std::string::npos ? name : name.substr(pool));
  const bool is_factor =
      name.find("ia3_l") != std::string::npos || name.find("magnitude") != std::string::npos;
  at::Tensor out = at::empty(shape, at::kFloat);
  float* const values = out.mutable_data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i) {
    uint64_t z = seed + (static_cast<uint64_t>(i) + 1) * 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z = z ^ (z >> 31);
    values[i] =
        (static_cast<float>(z >> 40) / 16777216.0F - 0.5F) * 0.5F + (is_factor ? 1.0F : 0.0F);
  }
  return out;
}

NamedTensors tensors_of(const Node* shapes, const std::string& key, const NamedTensors& stored) {
  NamedTensors out;
  if (shapes == nullptr) return out;
  for (const auto& [name, sizes] : shapes->members) {
    const auto own = stored.find(key + "/" + name);
    std::vector<int64_t> shape;
    for (const Node& size : sizes.items) shape.push_back(std::stoll(size.scalar));
    out[name] = own != stored.end() ? own->second.clone() : filled(name, shape);
  }
  return out;
}

std::vector<std::vector<int64_t>> cut(const at::Tensor& ids, const at::Tensor& lengths) {
  std::vector<std::vector<int64_t>> out;
  const int64_t* at = ids.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < lengths.numel(); ++i) {
    const int64_t length = lengths[i].item<int64_t>();
    out.emplace_back(at, at + length);
    at += length;
  }
  return out;
}

NamedTensors stored_of(const std::string& golden) {
  return load_safetensors(golden_dir(golden) / "cells.safetensors").tensors;
}

}  // namespace

namespace {

std::map<std::string, Cell> read_cells(const std::string& golden) {
  const Path file = golden_dir(golden) / "cells.json";
  const Node json = parse_json(read_file(file), file.string());
  const NamedTensors stored = stored_of(golden);
  std::map<std::string, Cell> out;
  for (const auto& [key, entry] : json.members) {
    Cell cell;
    cell.key = key;
    cell.model = entry.find("model")->scalar;
    cell.labels = static_cast<int64_t>(number_of(*entry.find("labels")));
    cell.config = *entry.find("config");
    if (const Node* head = entry.find("head")) cell.head = *head;
    if (const Node* kind = entry.find("reft_kind")) cell.reft_kind = kind->scalar;
    cell.tensors = tensors_of(entry.find("shapes"), key, stored);
    cell.head_tensors = tensors_of(entry.find("head_shapes"), key, stored);
    if (stored.contains(key)) cell.logits = stored.at(key);
    out[key] = std::move(cell);
  }
  return out;
}

}  // namespace

const std::map<std::string, Cell>& load_cells(const std::string& golden) {
  static std::map<std::string, std::map<std::string, Cell>> loaded;
  const auto found = loaded.find(golden);
  return found != loaded.end() ? found->second : loaded[golden] = read_cells(golden);
}

std::shared_ptr<const Model> model_of(const Cell& cell) {
  const size_t slash = cell.model.find('/');
  return golden_model(cell.model.substr(slash + 1), Precision::kFloat32,
                      cell.model.substr(0, slash));
}

void write_folder(const Cell& cell, const std::string& format, const Path& dir) {
  make_directories(dir);
  write_file_atomically(dir / "adapter_config.json", to_json(cell.config));
  save_safetensors(dir / (format == "peft" ? "adapter_model.safetensors" : "adapter.safetensors"),
                   cell.tensors);
  if (cell.head_tensors.empty()) return;
  write_file_atomically(dir / "head_config.json", to_json(cell.head));
  save_safetensors(dir / "model_head.safetensors", cell.head_tensors);
}

LoadedAdapter import_cell(const Cell& cell, const std::string& format) {
  const TempFolder folder;
  write_folder(cell, format, folder / "in");
  ImportAnswers answers;
  answers.reft_kind = cell.reft_kind;
  const std::optional<Task> task =
      cell.labels == 1 ? std::optional(regression_task()) : std::nullopt;
  return import_adapter(format, folder / "in", *model_of(cell), task, answers);
}

void expect_cell_logits(const Cell& cell, const std::string& golden, const LoadedAdapter& loaded) {
  const auto model = model_of(cell);
  const NamedTensors file = stored_of(golden);
  const std::string rows = "rows/" + cell.model + "/";
  const auto texts = cut(file.at(rows + "ids"), file.at(rows + "lengths"));
  std::vector<std::vector<int64_t>> targets(texts.size());
  if (file.contains(rows + "target_ids"))
    targets = cut(file.at(rows + "target_ids"), file.at(rows + "target_lengths"));
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*model, loaded.adapter, loaded.tensors);
  std::vector<at::Tensor> logits;
  for (size_t i = 0; i < texts.size(); ++i) {
    const Sequence text{.example = static_cast<int64_t>(i), .ids = texts[i]};
    if (cell.labels == 0) {
      logits.push_back(token_logits(*model, bound, text, targets[i]));
      continue;
    }
    const LaneInput lane{{&text}, loaded.adapter.layout()};
    logits.push_back(run_lanes(*model, pack_of(*model, {lane}), {&bound}).front().logits);
  }
  expect_near(at::cat(logits), cell.logits, kFloat, cell.key);
}

}  // namespace graft::testing
