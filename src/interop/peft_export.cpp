#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/spelling.h"
#include "interop/peft.h"
#include "interop/peft_writer.h"
#include "tensor/safetensors.h"

namespace graft {

namespace {

constexpr const char* kPeftVersion = "0.21.2";  // whose fields are written

// Why PEFT has no form for an edit.
const std::map<std::string, std::string>& peft_reasons() {
  static const std::map<std::string, std::string> kReasons = {
      {"stochastic",
       "PEFT has no stochastic mixtures: make it one adapter first with graft average"},
      {"gate", "PEFT has no gates"},
      {"router", "PEFT has no routed mixtures of this kind (MoV, MoLoRA)"},
      {"bottleneck", "PEFT has no bottleneck adapters; " + option_name("to") + " adapterhub has"},
      {"reft", "PEFT has no edits of hidden states (ReFT); " + option_name("to") + " pyreft has"},
      {"bitfit", "PEFT saves biases only beside LoRA (bias: all)"},
      {"full",
       "a fully trained model is no adapter to PEFT: merge it into the weights with graft merge"},
      {"top-layers",
       "trained blocks are no adapter to PEFT: merge them into the weights with graft merge"}};
  return kReasons;
}

}  // namespace

PeftWriter::PeftWriter(const Adapter& adapter, const NamedTensors& tensors, const Model& model)
    : adapter_(adapter),
      tensors_(tensors),
      model_(model),
      family_(family_of(model.config)),
      prefix_(family_.trunk_prefix(adapter.head() != nullptr)),
      modules_(model, prefix_, adapter.head() != nullptr) {}

void PeftWriter::build() {
  const std::string kind = method();
  root_ = kind == "prefix" || kind == "prompt" ? kPeftPromptRoot : kPeftLayersRoot;
  if (kind == "lora" || kind == "dora") write_lora(kind == "dora");
  else if (kind == "affine") write_ia3();
  else if (kind == "vera") write_vera();
  else if (kind == "prefix") write_prefix();
  else write_prompt();
  write_head();
  config_["base_model_name_or_path"] = Node::text(model_.source);
  config_["peft_version"] = Node::text(kPeftVersion);
  const char* headless = !model_.config.has_decoder()  ? "FEATURE_EXTRACTION"
                         : model_.config.has_encoder() ? "SEQ_2_SEQ_LM"
                                                       : "CAUSAL_LM";
  config_["task_type"] = Node::text(adapter_.head() != nullptr ? "SEQ_CLS" : headless);
  if (config_.find("fan_in_fan_out") != nullptr)
    config_["fan_in_fan_out"] = Node::boolean(family_.stores_transposed);
}

void PeftWriter::refuse(const std::string& path, const std::string& why) const {
  throw InputError("the adapter cannot be exported to PEFT: " + path.substr(0, path.size() - 1) +
                   ": " + why);
}

std::string PeftWriter::method() {
  std::string kind, first;
  std::vector<std::pair<std::string, std::string>> faults;
  for (const Adapter::Part& part : adapter_.parts()) {
    const Node described = part.edit->describe();
    const std::string own = part.edit->method();
    if (own == "bitfit") biases_ = part.path;
    else if (const auto reason = peft_reasons().find(own); reason != peft_reasons().end())
      faults.emplace_back(part.path, reason->second);
    else if (own != "lora" && own != "dora" && own != "affine" && own != "vera" &&
             own != "prefix" && own != "prompt")
      faults.emplace_back(part.path, "PEFT has no form for it that is known here");
    else if (!kind.empty() && own != kind)
      faults.emplace_back(part.path,
                          "PEFT keeps one method in a folder, and " + first + " is another");
    else if (kind = own, first.empty()) first = part.path.substr(0, part.path.size() - 1);
    parts_.push_back({part.path, *described.find(own), &part.spec()});
  }
  if (!biases_.empty() && model_.config.has_decoder())
    faults.emplace_back(
        biases_,
        "biases of a " + model_.config.model_type +
            " model are not written for PEFT: merge them into the weights with graft merge");
  const bool is_prompt = kind == "prefix" || kind == "prompt";
  if (is_prompt && model_.config.is_encoder_decoder())
    faults.emplace_back(
        parts_.front().path,
        "PEFT gives rows to an encoder and its decoder in its own way, which is not written here");
  if (!biases_.empty() && kind != "lora" && kind != "dora")
    faults.emplace_back(biases_, peft_reasons().at("bitfit"));
  if (!biases_.empty())
    std::erase_if(parts_, [&](const Part& part) { return part.path == biases_; });
  if (!faults.empty()) {
    std::string message;
    for (const auto& [path, why] : faults)
      message += (message.empty() ? "" : "; ") + path.substr(0, path.size() - 1) + ": " + why;
    throw InputError("the adapter cannot be exported to PEFT: " + message);
  }
  if (parts_.empty())
    throw InputError(
        "the adapter cannot be exported to PEFT: it changes nothing but the head, and PEFT keeps "
        "no head alone");
  if ((kind == "prefix" || kind == "prompt") && parts_.size() > 1)
    refuse(parts_[1].path, "PEFT keeps one " + kind + " in a folder");
  check_distinct_sites();
  return kind;
}

void PeftWriter::check_distinct_sites() const {
  std::set<std::string> seen;
  for (const Part& part : parts_) {
    for (const Site& site : part.spec->sites) {
      if (!seen.insert(site.name).second)
        refuse(part.path, "PEFT keeps one change of a module, and " + site.name + " has two");
    }
  }
}

double PeftWriter::shared(const char* name, const std::string& theirs) const {
  const double first = number_in(parts_.front().options, name);
  for (const Part& part : parts_) {
    if (number_in(part.options, name) != first)
      refuse(part.path, theirs + " is one number in PEFT: expected " + Node::number(first).scalar +
                            " as in " + parts_.front().path + ", found " +
                            Node::number(number_in(part.options, name)).scalar);
  }
  return first;
}

std::vector<std::string> PeftWriter::target_names(const std::vector<std::string>& layers) const {
  std::set<std::string> wanted, endings;
  for (const std::string& layer : layers) wanted.insert(modules_.by_name(layer).path);
  for (const std::string& path : wanted) endings.insert(shortest_ending(path, wanted));
  return {endings.begin(), endings.end()};
}

std::string PeftWriter::shortest_ending(const std::string& path,
                                        const std::set<std::string>& wanted) const {
  for (size_t dot = path.rfind('.'); dot != std::string::npos && dot > 0;
       dot = path.rfind('.', dot - 1)) {
    const std::string ending = path.substr(dot + 1);
    const auto is_unwanted = [&](const Modules::Layer& layer) {
      return has_suffix(layer.path, ending) && !wanted.contains(layer.path);
    };
    if (std::none_of(modules_.layers().begin(), modules_.layers().end(), is_unwanted))
      return ending;
  }
  return path;
}

void PeftWriter::write_head() {
  if (adapter_.head() == nullptr) return;
  std::vector<std::string> saved = {"classifier"};
  const std::string module = head_module(family_);
  if (module != "classifier" && module != "score") saved.insert(saved.begin(), module);
  for (const ParamSpec& param : adapter_.head()->params()) {
    const size_t dot = param.name.rfind('.');
    const std::string layer = param.name.substr(0, dot), tensor = param.name.substr(dot);
    put(key(parse_place(layer) ? layer : "head/" + layer) + tensor,  // the model's own layer
        stored(Adapter::kHeadPath + param.name));
  }
  if (trains_pooler()) saved.push_back(module_under_head(model_.config));
  saved.emplace_back("score");  // PEFT lists it and "classifier" for every classifier
  config_["modules_to_save"] = Node::texts(saved);
}

void write_peft(const Path& dir, const Adapter& adapter, const NamedTensors& tensors,
                const Model& model) {
  const PlainAdapter flat = flat_adapter(adapter, tensors, model);
  PeftWriter writer(flat.adapter, flat.tensors, model);
  writer.build();
  make_directories(dir);
  save_safetensors(dir / "adapter_model.safetensors", writer.tensors(), {{"format", "pt"}});
  write_file_atomically(dir / "adapter_config.json", to_json(writer.config()) + "\n");
}

}  // namespace graft
