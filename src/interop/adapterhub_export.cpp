#include <map>
#include <set>

#include "base/error.h"
#include "base/spelling.h"
#include "interop/adapterhub.h"
#include "interop/adapterhub_head.h"
#include "interop/adapterhub_writer.h"
#include "interop/torch_writer.h"
#include "model/families.h"

namespace graft {

namespace {

constexpr const char* kName =
    "graft";  // of the adapter, which AdapterHub puts into every tensor's name

// Why AdapterHub has no form for an edit.
const std::map<std::string, std::string>& hub_reasons() {
  static const std::map<std::string, std::string> kReasons = {
      {"stochastic",
       "AdapterHub has no stochastic mixtures: make it one adapter first with graft average"},
      {"router", "AdapterHub has no routed mixtures of this kind (MoV, MoLoRA)"},
      {"dora",
       "AdapterHub's DoRA is another function (alpha/r outside the norm, a bias that is "
       "stretched); " +
           option_name("to") + " peft has this one"},
      {"prompt", "AdapterHub puts a prompt's vectors behind the embedding's norm; " +
                     option_name("to") +
                     " peft has prompts of "
                     "word embeddings"},
      {"bitfit", "AdapterHub keeps no trained biases"},
      {"full", "a fully trained model is no adapter: merge it into the weights with graft merge"},
      {"top-layers",
       "trained blocks are no adapter: merge them into the weights with graft merge"}};
  return kReasons;
}

}  // namespace

HubWriter::HubWriter(const Adapter& adapter, const NamedTensors& tensors, const Model& model)
    : tensors_(tensors),
      model_(model),
      names_(model, family_of(model.config).trunk_prefix(adapter.head() != nullptr), kName) {
  for (const Adapter::Part& part : adapter.parts()) add(part);
}

void HubWriter::build() {
  if (!faults_.empty())
    throw InputError("the adapter cannot be exported to AdapterHub: " + faults_);
  if (parts_.empty())
    throw InputError(
        "the adapter cannot be exported to AdapterHub: it changes nothing but the head, and "
        "AdapterHub keeps no head without "
        "an adapter");
  std::set<std::string> seen;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const std::string method = method_of(parts_[i].kind);
    if (!seen.insert(method).second) {
      if (method != "bottleneck")
        refuse(parts_[i], "AdapterHub keeps one " + method + " in a folder");
      continue;  // all bottlenecks make one configuration
    }
    if (method == "bottleneck") write_bottlenecks();
    else if (parts_[i].kind == "lora") write_lora(parts_[i]);
    else if (parts_[i].kind == "affine") write_scales(parts_[i]);
    else if (parts_[i].kind == "prefix") write_prefix(parts_[i]);
    else write_reft(parts_[i]);
  }
}

Node HubWriter::config() const {
  if (configs_.size() == 1) return configs_.front();
  return Node::map({{"architecture", Node::text("union")}, {"configs", Node::list(configs_)}});
}

void HubWriter::refuse(const Part& part, const std::string& why) {
  throw InputError("the adapter cannot be exported to AdapterHub: " +
                   part.gate.substr(0, part.gate.size() - 1) + ": " + why);
}

void HubWriter::fault(const std::string& path, const std::string& why) {
  faults_ += (faults_.empty() ? "" : "; ") + path.substr(0, path.size() - 1) + ": " + why;
}

void HubWriter::add(const Adapter::Part& part) {
  const Node described = part.edit->describe();
  Part out{part.edit->method(), part.path, part.path, {}, {}, part.spec().sites};
  if (out.kind == "gate") {
    out.gate_options = *described.find("gate");
    const Node* inner = described.find("of");
    if (inner->kind != Node::Kind::kMap || out.gate_options.find("kind") != nullptr)
      return fault(part.path, "AdapterHub has no central gate");
    out.kind = inner->members.front().first;
    out.options = inner->members.front().second;
    out.own += "of/";
    if (const std::string why = gate_fault(out); !why.empty()) return fault(part.path, why);
  } else {
    out.options = *described.find(out.kind);
  }
  if (const auto reason = hub_reasons().find(out.kind); reason != hub_reasons().end())
    return fault(part.path, reason->second);
  static const std::set<std::string> kKnown = {"bottleneck", "lora", "affine", "prefix", "reft"};
  if (!kKnown.contains(out.kind))
    return fault(part.path, "AdapterHub has no form for it that is known here");
  parts_.push_back(std::move(out));
}

std::string HubWriter::gate_fault(const Part& part) {
  const Node& gate = part.gate_options;
  if (part.kind != "bottleneck" && part.kind != "lora" && part.kind != "prefix")
    return "AdapterHub has no gate around " + part.kind;
  if (word_in(gate, "value") != "learned") return "AdapterHub has no gates of a fixed value";
  if (word_in(gate, "pool") != "mean")
    return "AdapterHub's gates average over the rows of a text: expected pool mean, found " +
           word_in(gate, "pool");
  if (part.kind == "prefix")
    return word_in(gate, "prefix_logits") == "off" ? ""
                                                   : "AdapterHub scales a prefix and leaves its "
                                                     "logits alone: expected prefix_logits off";
  if (word_in(gate, "share") != "separate")
    return "AdapterHub has a gate a module: expected share separate, found " +
           word_in(gate, "share");
  if (part.kind == "lora" && word_in(gate, "multiplier") != "gate")
    return "AdapterHub's gate takes the place of alpha/r: expected multiplier gate";
  return "";
}

void HubWriter::put_gate(const Part& part, const Site& site, const std::string& theirs) {
  for (const char* tensor : {"weight", "bias"})
    put(theirs + tensor, stored(part.gate + site.name + ".gate." + tensor));
}

HubWriter::SiteParts HubWriter::rectangle(const Part& part, const std::vector<Site>& sites,
                                          Node& config) const {
  std::map<int64_t, SiteParts> by_layer;
  for (const Site& site : sites) {
    if (site.layer < 0)
      refuse(part, "AdapterHub changes the blocks of a model alone; found " + site.name);
    if (!by_layer[site.layer].insert(site.part).second)
      refuse(part, "AdapterHub keeps one change of a module, and " + site.name + " has two");
  }
  const SiteParts& parts = by_layer.begin()->second;
  for (const auto& [layer, own] : by_layer) {
    if (own != parts)
      refuse(part, "AdapterHub changes the same modules in every layer that it changes; layer " +
                       std::to_string(layer) + " has others than layer " +
                       std::to_string(by_layer.begin()->first));
  }
  std::vector<Node> left_out;
  for (int64_t layer = 0; layer < model_.config.encoder_layers(); ++layer) {
    if (!by_layer.contains(layer)) left_out.push_back(Node::integer(layer));
  }
  config["leave_out"] = Node::list(std::move(left_out));
  return parts;
}

void write_adapterhub(const Path& dir, const Adapter& adapter, const NamedTensors& tensors,
                      const Model& model) {
  if (!family_of(model.config).is_in_adapterhub)
    throw InputError(
        "folders of AdapterHub are written for BERT and RoBERTa; the model is of type " +
        quote(model.config.model_type));
  const at::NoGradGuard no_grad;
  HubWriter writer(adapter, tensors, model);
  writer.build();
  make_directories(dir);
  if (adapter.head() != nullptr) write_hub_head(dir, adapter, tensors, model, kName);
  save_torch_file(dir / "pytorch_adapter.bin", writer.tensors());
  const Node config = Node::map({{"config", writer.config()},
                                 {"hidden_size", Node::integer(model.config.width)},
                                 {"model_class", Node::text(hub_model_class(adapter, model))},
                                 {"model_name", Node::text(model.source)},
                                 {"model_type", Node::text(model.config.model_type)},
                                 {"name", Node::text(kName)},
                                 {"version", Node::text(kAdapterHubVersion)}});
  write_file_atomically(dir / "adapter_config.json", to_json(config) + "\n");
}

}  // namespace graft
