#include "interop/model_folder.h"

#include <ATen/ops/cat.h>

#include <map>

#include "base/error.h"
#include "interop/foreign.h"
#include "model/families.h"
#include "tensor/safetensors.h"

namespace graft {

using at::Tensor;
namespace fs = std::filesystem;

namespace {

constexpr const char* kTokenizerFiles[] = {"tokenizer.json",
                                           "tokenizer_config.json",
                                           "special_tokens_map.json",
                                           "added_tokens.json",
                                           "vocab.txt",
                                           "vocab.json",
                                           "merges.txt",
                                           "spiece.model",
                                           "tokenizer.model",
                                           "chat_template.jinja",
                                           "generation_config.json"};

Node with_head(Node json, const Family& family, const Task& task) {
  json["architectures"] = Node::list({Node::text(family.classifier_class)});
  Node names = Node::map(), numbers = Node::map();
  const bool is_regression = task.kind() == TaskKind::kRegression;
  const std::vector<std::string> labels =
      is_regression ? std::vector<std::string>{"value"} : task.labels();
  for (size_t i = 0; i < labels.size(); ++i) {
    names[std::to_string(i)] = Node::text(labels[i]);
    numbers[labels[i]] = Node::integer(static_cast<int64_t>(i));
  }
  json["id2label"] = std::move(names);
  json["label2id"] = std::move(numbers);
  json["problem_type"] = Node::text(is_regression ? "regression" : "single_label_classification");
  return json;
}

NamedTensors named_for_checkpoint(const Family& family, const NamedTensors& tensors,
                                  const ModelConfig& config, const LoadedAdapter& loaded,
                                  at::ScalarType dtype) {
  const Head* head = loaded.adapter.head();
  const bool has_classifier =
      head != nullptr &&
      !head->params().empty();  // a cloze has the head for masks, which is the model's
  const std::string& prefix = family.trunk_prefix(head != nullptr);
  NamedTensors out;
  const auto add = [&](const std::string& name, const Tensor& tensor) {
    out[name] = tensor.detach().to(dtype).contiguous();
  };
  std::map<std::string, std::vector<Tensor>> pieces;  // of layers that the checkpoint holds as one
  for (const auto& [name, tensor] : tensors) {
    const TensorId id = parse_tensor(name).value();
    const std::optional<std::string> theirs = checkpoint_name(family, id);
    ensure(theirs.has_value(), "every tensor of a trunk has a name in its checkpoint: " + name);
    const CheckpointPiece piece = piece_of(*theirs);
    const bool is_beside_trunk = id == kOutputTable || is_of_mask_head(id.place.part);
    if (is_beside_trunk && has_classifier && !is_under_head(id.place, config)) continue;
    std::vector<Tensor>& own = pieces[(is_beside_trunk ? "" : prefix) + piece.tensor];
    own.resize(static_cast<size_t>(piece.count));
    const bool is_transposed = is_stored_transposed(family, id) && tensor.dim() == 2;
    own[static_cast<size_t>(piece.index)] = is_transposed ? tensor.detach().t() : tensor.detach();
  }
  for (const auto& [name, parts] : pieces) {  // along their outputs
    add(name, parts.size() == 1
                  ? parts.front()
                  : at::cat(parts, family.stores_transposed ? parts.front().dim() - 1 : 0));
  }
  if (head == nullptr) return out;
  for (const auto& [name, tensor] : head_named(loaded.adapter, loaded.tensors, family.head_names))
    add(name, tensor);
  return out;
}

}  // namespace

void write_model_folder(const Path& dir, const Path& model_dir, const ModelConfig& config,
                        const NamedTensors& tensors, const LoadedAdapter& loaded,
                        at::ScalarType dtype) {
  const Family& family = family_of(config);
  make_directories(dir);
  const Path source = model_dir / "config.json";
  Node json = parse_json(read_file(source), source.string());
  const Head* head = loaded.adapter.head();
  if (head != nullptr && !head->params().empty())
    json = with_head(std::move(json), family, *loaded.adapter.task());
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (json.find(key) != nullptr)
      json[key] = Node::text(dtype == at::kBFloat16 ? "bfloat16" : "float32");
  }
  save_safetensors(dir / "model.safetensors",
                   named_for_checkpoint(family, tensors, config, loaded, dtype),
                   {{"format", "pt"}});
  for (const char* name : kTokenizerFiles) {
    std::error_code error;
    if (fs::exists(model_dir / name, error))
      write_file_atomically(dir / name, read_file(model_dir / name));
  }
  write_file_atomically(dir / "config.json", to_json(json) + "\n");
}

}  // namespace graft
