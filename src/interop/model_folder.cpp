#include "interop/model_folder.h"

#include <ATen/ops/cat.h>

#include <map>

#include "base/error.h"
#include "interop/foreign.h"
#include "model/families.h"
#include "model/gguf_model.h"
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

// What a folder has beside its tensors.
struct BaseFiles {
  Node config;
  std::map<std::string, std::string> tokenizer;  // by name
};

BaseFiles read_folder(const Path& folder) {
  const Path source = folder / "config.json";
  BaseFiles files{parse_json(read_file(source), source.string()), {}};
  for (const char* name : kTokenizerFiles) {
    std::error_code error;
    if (fs::exists(folder / name, error)) files.tokenizer[name] = read_file(folder / name);
  }
  return files;
}

// A GGUF file says neither the class, which is one that writes, nor one type of all tensors: the
// type here stands in for the one that they are stored in.
BaseFiles read_gguf(const Path& model, const Family& family, const ModelConfig& config) {
  const GgufFile file(gguf_file(model));
  BaseFiles files{gguf_config_json(file, {.remembered = config.ignored_keys}),
                  gguf_tokenizer_files(file.metadata())};
  std::string name = family.classifier_class;
  name.replace(name.find("ForSequenceClassification"), std::string::npos, "ForCausalLM");
  files.config["architectures"] = Node::list({Node::text(name)});
  files.config["torch_dtype"] = Node::text("float32");
  return files;
}

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

void write_model_folder(const Path& dir, const Path& base, const ModelConfig& config,
                        const NamedTensors& tensors, const LoadedAdapter& loaded,
                        at::ScalarType dtype) {
  const Family& family = family_of(config);
  make_directories(dir);
  BaseFiles files = is_gguf(base) ? read_gguf(base, family, config) : read_folder(base);
  Node& json = files.config;
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
  for (const auto& [name, text] : files.tokenizer) write_file_atomically(dir / name, text);
  write_file_atomically(dir / "config.json", to_json(json) + "\n");
}

}  // namespace graft
