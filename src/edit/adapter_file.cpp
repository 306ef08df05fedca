#include "edit/adapter_file.h"

#include <ATen/ops/isfinite.h>

#include "base/error.h"
#include "base/options.h"
#include "base/printable.h"
#include "base/spelling.h"
#include "base/version.h"
#include "model/gguf_model.h"
#include "tensor/fingerprint.h"
#include "tensor/safetensors.h"

namespace graft {

namespace {

using at::Tensor;

constexpr const char* kFormat = "graft-adapter";

Node provenance_node(const Provenance& p) {
  Node node = Node::map({{"graft_version", Node::text(p.graft_version)},
                         {"model", Node::text(p.model)},
                         {"tokenizer", Node::text(p.tokenizer)},
                         {"max_length", Node::integer(p.max_length)},
                         {"seed", Node::integer(p.seed)},
                         {"steps", Node::integer(p.steps)},
                         {"data", Node::text(p.data)}});
  if (!p.origin.empty()) node["origin"] = Node::text(p.origin);
  return node;
}

Provenance read_provenance(Options& options) {
  constexpr int64_t kMost = INT64_MAX;
  return {.graft_version = options.text("graft_version", ""),
          .model = options.text("model", ""),
          .tokenizer = options.text("tokenizer", ""),
          .max_length = options.integer("max_length", 0, 0, kMost),
          .seed = options.integer("seed", 0, INT64_MIN, kMost),
          .steps = options.integer("steps", 0, 0, kMost),
          .data = options.text("data", ""),
          .origin = options.text("origin", ""),
          .ignored_config_keys = options.texts("ignored_config_keys", std::vector<std::string>{})};
}

// The base tensors whose values the adapter's results depend on: all of them but an unused pooler
// cannot be told apart, so all.
Node base_node(const Model& model) {
  Node tensors = Node::map();
  for (const auto& [name, digest] : model.weights.base_fingerprints())
    tensors.members.emplace_back(name, Node::text(digest));
  return Node::map(
      {{"model_type", Node::text(model.config.model_type)}, {"tensors", std::move(tensors)}});
}

// Tensors of which one side has another fingerprint, or none.
std::vector<std::string> differing_tensors(const AdapterHeader& header,
                                           const std::map<std::string, std::string>& found) {
  std::vector<std::string> differing;
  for (const auto& [name, digest] : header.base) {
    const auto it = found.find(name);
    if (it == found.end() || it->second != digest) differing.push_back(name);
  }
  for (const auto& [name, digest] : found) {
    if (std::none_of(header.base.begin(), header.base.end(),
                     [&own = name](const auto& entry) { return entry.first == own; }))
      differing.push_back(name);
  }
  return differing;
}

// Tensors that one side has, or both.
size_t count_tensors(const AdapterHeader& header, const std::map<std::string, std::string>& found) {
  const auto missing =
      std::count_if(header.base.begin(), header.base.end(),
                    [&](const auto& entry) { return !found.contains(entry.first); });
  return found.size() + static_cast<size_t>(missing);
}

// What graft 0.1.0 recorded of a GGUF file that a bfloat16 trunk was made of: the tensors after
// they were rounded.
std::map<std::string, std::string> rounded_fingerprints(const Model& model) {
  std::map<std::string, std::string> out;
  for (const auto& [name, tensor] : model.weights.all_base())
    out.emplace(name, fingerprint(tensor.to(at::kBFloat16)));
  return out;
}

void check_base(const AdapterHeader& header, const Model& model, const std::string& source) {
  if (header.model_type != model.config.model_type) {
    throw InputError(
        source + ": trained on a " + header.model_type + " model, but " + model.source + " is a " +
        model.config.model_type + " model; give the adapter's own base" +
        (header.provenance.model.empty() ? "" : " (it was " + header.provenance.model + ")"));
  }
  const std::map<std::string, std::string>& found = model.weights.base_fingerprints();
  const std::vector<std::string> differing = differing_tensors(header, found);
  if (differing.empty()) return;
  if (is_gguf(model.source) && differing_tensors(header, rounded_fingerprints(model)).empty())
    return;
  throw InputError(source + ": trained on another base than " + model.source + ": " +
                   std::to_string(differing.size()) + " of " +
                   std::to_string(count_tensors(header, found)) + " tensors differ (" +
                   joined_first(differing, 4) + "); give the base it was trained on" +
                   (header.provenance.model.empty() ? "" : ", " + header.provenance.model));
}

NamedTensors read_tensors(const Path& file, const Adapter& adapter) {
  NamedTensors stored = load_safetensors(file).tensors;
  NamedTensors out;
  std::vector<std::string> faults, known;
  for (const ParamSpec& param : adapter.params()) {
    if (param.role == Role::kDrawn) continue;
    known.push_back(param.name);
    const auto found = stored.find(param.name);
    if (found == stored.end()) {
      faults.push_back("tensor '" + param.name + "' is missing");
      continue;
    }
    const Tensor& tensor = found->second;
    if (tensor.sizes() != at::IntArrayRef(param.shape) || tensor.scalar_type() != at::kFloat) {
      faults.push_back("tensor '" + param.name + "': expected F32 " + shape_text(param.shape) +
                       ", found " + safetensors_dtype(tensor.scalar_type()) + " " +
                       shape_text(tensor.sizes()));
    } else if (!at::isfinite(tensor).all().item<bool>()) {
      faults.push_back("tensor '" + param.name + "' holds numbers that are not finite");
    } else {
      out[param.name] = tensor.clone().requires_grad_(param.role == Role::kTrained);
    }
  }
  for (const auto& [name, tensor] : stored) {
    if (std::find(known.begin(), known.end(), name) == known.end())
      faults.push_back("tensor " + named(name) + " belongs to no part of the adapter" +
                       did_you_mean(name, known));
  }
  if (faults.empty()) return out;
  std::string message;
  for (size_t i = 0; i < faults.size() && i < 10; ++i)
    message += (i == 0 ? "" : "\n") + file.string() + ": " + faults[i];
  if (faults.size() > 10) message += "\n... and " + std::to_string(faults.size() - 10) + " more";
  throw InputError(message);
}

}  // namespace

void save_adapter(const Path& dir, const Adapter& adapter, const NamedTensors& tensors,
                  const Model& model, const Provenance& provenance) {
  Node json = Node::map(
      {{"format", Node::text(kFormat)}, {"version", Node::integer(kAdapterFormatVersion)}});
  const Node definition = adapter.describe();
  for (const auto& [key, value] : definition.members) json[key] = value;
  if (adapter.task()) json["task"] = task_to_node(*adapter.task());
  json["base"] = base_node(model);
  json["provenance"] = provenance_node(provenance);
  if (!model.config.ignored_keys.empty())
    json["provenance"]["ignored_config_keys"] = Node::texts(model.config.ignored_keys);
  NamedTensors plain;
  for (const ParamSpec& param : adapter.params()) {
    if (param.role != Role::kDrawn)
      plain[param.name] = tensors.at(param.name).detach().contiguous();
  }
  make_directories(dir);
  save_safetensors(dir / "adapter.safetensors", plain);
  write_file_atomically(dir / "adapter.json", to_json(json));
}

namespace {

// Whose adapter lies in a folder that has no adapter.json, as graft import calls it; "" where that
// is not known.
std::string other_software(const Path& dir) {
  std::error_code error;
  if (std::filesystem::exists(dir / "adapter.json", error)) return "";
  bool has_config = false, is_adapterhub = false;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("intkey_")) return "pyreft";
    has_config |= name == "adapter_config.json";
    is_adapterhub |= name == "pytorch_adapter.bin" || name == "adapter.safetensors";
  }
  return !has_config ? "" : is_adapterhub ? "adapterhub" : "peft";
}

}  // namespace

AdapterHeader read_adapter_header(const Path& dir) {
  const Path file = dir / "adapter.json";
  const Path inner = dir / "adapter" / "adapter.json";
  if (std::error_code error;
      !std::filesystem::exists(file, error) && std::filesystem::exists(inner, error)) {
    throw InputError("'" + file.string() + "': no such file; '" + dir.string() +
                     "' is a run: give its adapter, " + inner.parent_path().string());
  }
  if (const std::string other = other_software(dir); !other.empty()) {
    throw InputError("'" + file.string() + "': no such file; '" + dir.string() +
                     "' holds an adapter of other software: make one of it with graft import " +
                     option_name("from") + " " + other);
  }
  if (std::error_code error; !std::filesystem::exists(file, error)) {
    throw InputError(
        "'" + file.string() +
        "': no such file; an adapter is the folder that graft train wrote, RUN/adapter");
  }
  return parse_adapter_header(read_file(file), file.string());
}

AdapterHeader parse_adapter_header(std::string_view text, const std::string& source) {
  const Node json = parse_json(text, source);
  Options options(json, source);
  AdapterHeader header;
  options.choice("format", std::nullopt, {kFormat});
  const int64_t version = options.integer("version", std::nullopt, 1, 1'000'000);
  check_version(version, kAdapterFormatVersion, source);
  for (const char* key : {"edits", "head"}) {
    if (const Node* node = options.raw(key)) header.definition[key] = *node;
  }
  if (const Node* task = options.raw("task")) header.task = parse_task(*task, source);
  Options& base = options.section("base");
  header.model_type = base.text("model_type", std::nullopt);
  if (const Node* tensors = base.raw("tensors");
      tensors != nullptr && tensors->kind == Node::Kind::kMap) {
    for (const auto& [name, digest] : tensors->members) {
      const bool is_digest =
          digest.scalar.size() == 32 &&
          digest.scalar.find_first_not_of("0123456789abcdef") == std::string::npos;
      if (!is_digest)
        base.fault("tensors", quote(name) +
                                  ": expected a fingerprint of 32 hexadecimal digits, found " +
                                  quote(digest.scalar));
      header.base.emplace_back(name, digest.scalar);
    }
  } else {
    base.fault("tensors", "missing; expected the fingerprints of the base's tensors");
  }
  header.provenance = read_provenance(options.section("provenance"));
  options.finish();
  return header;
}

LoadedAdapter load_adapter(const Path& dir, const Model& model) {
  const std::string source = (dir / "adapter.json").string();
  AdapterHeader header = read_adapter_header(dir);
  check_base(header, model, source);
  Adapter adapter(header.definition, source, {model.config, model.sites}, header.task);
  NamedTensors tensors = read_tensors(dir / "adapter.safetensors", adapter);
  adapter.draw(tensors, model.weights);
  return {std::move(adapter), std::move(tensors), std::move(header.provenance)};
}

}  // namespace graft
