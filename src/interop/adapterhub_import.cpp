#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/spelling.h"
#include "interop/adapterhub.h"
#include "interop/adapterhub_head.h"
#include "interop/adapterhub_reader.h"
#include "model/families.h"

namespace graft {

namespace {

// In files without a version these meant other functions.
const std::map<std::string, std::string> kOldActivations = {{"gelu", "gelu_new"},
                                                            {"gelu_orig", "gelu"}};

}  // namespace

HubReader::HubReader(const Path& dir, const Model& model, const Node& json,
                     const ImportAnswers& answers)
    : dir_(dir),
      model_(model),
      answers_(answers),
      json_(json),
      top_(json_, (dir / "adapter_config.json").string()),
      tensors_(load_foreign_tensors(dir, "adapter.safetensors", "pytorch_adapter.bin")),
      name_(top_.text("name", std::nullopt)),
      version_(top_.text("version", "")),
      names_(model, prefix(), name_) {}

ForeignAdapter HubReader::read() {
  ignore_fields(top_, {"model_class", "model_name", "type", "config_id", "full_name"});
  top_.choice("model_type", model_.config.model_type, {model_.config.model_type});
  top_.integer("hidden_size", model_.config.width, model_.config.width, model_.config.width);
  Options& config = top_.section("config");
  read_config(config);
  if (const Node* own = json_.find("config")) ignore_unused(config, *own);
  if (!answers_.reft_kind.empty() && !asked_for_kind_)
    top_.fault("config",
               option_name("reft_kind") + ": the folder says what there is to say; leave it out");
  foreign_.origin = (version_.empty() ? "adapters of an unknown version" : version_) + " (" +
                    joined(methods_) + notes_text(notes_) + ")";
  ignore_unused(top_, json_);
  std::string faults = faults_of(top_);
  for (const std::string& more : {inner_faults_, read_hub_head(dir_, model_, foreign_)}) {
    if (!more.empty()) faults += (faults.empty() ? "" : "\n") + more;
  }
  tensors_.finish(faults);
  return std::move(foreign_);
}

std::string HubReader::prefix() const {
  const std::string& long_form = family_of(model_.config).prefixes.front();
  const auto found = tensors_.all().lower_bound(long_form);
  return found != tensors_.all().end() && found->first.starts_with(long_form) ? long_form : "";
}

void HubReader::read_config(Options& c) {
  const Node* architecture = c.raw("architecture");
  const std::string kind = is_unused(architecture) ? "bottleneck" : architecture->scalar;
  methods_.push_back(kind);
  if (kind == "bottleneck") read_bottleneck(c);
  else if (kind == "lora") read_lora(c);
  else if (kind == "prefix_tuning") read_prefix(c);
  else if (kind == "reft") read_reft(c);
  else if (kind == "union") read_union(c);
  else if (kind == "prompt_tuning")
    refuse_all(c,
               "prompt tuning puts its vectors behind the embedding's norm and gives them no "
               "positions; a prompt here is made "
               "of word embeddings");
  else
    refuse_all(
        c, "expected null (bottleneck), lora, prefix_tuning, reft or union, found " + quote(kind));
}

void HubReader::refuse_all(Options& c, const std::string& why) {
  c.fault("architecture", why);
  for (const auto& [name, tensor] : tensors_.all()) tensors_.drop(name);
}

void HubReader::read_union(Options& c) {
  const Node* configs = c.raw("configs");
  if (configs == nullptr || configs->kind != Node::Kind::kList || configs->items.empty()) {
    c.fault("configs", "expected a list of configurations");
    return;
  }
  methods_.clear();
  for (size_t i = 0; i < configs->items.size(); ++i) {
    Options inner(configs->items[i], top_.source(), "/config/configs/" + std::to_string(i));
    if (const Node* architecture = inner.raw("architecture");
        architecture != nullptr && architecture->scalar == "union")
      inner.fault("architecture", "a union in a union");
    else read_config(inner);
    ignore_unused(inner, configs->items[i]);
    if (const std::string faults = faults_of(inner); !faults.empty())
      inner_faults_ += (inner_faults_.empty() ? "" : "\n") + faults;
  }
}

std::vector<int64_t> HubReader::kept_layers(Options& c) {
  std::vector<int64_t> left_out, kept;
  if (!is_unused(c.raw("leave_out"))) left_out = c.integers("leave_out", std::nullopt, 0, 1 << 20);
  for (int64_t layer = 0; layer < model_.config.encoder_layers(); ++layer) {
    if (std::find(left_out.begin(), left_out.end(), layer) == left_out.end()) kept.push_back(layer);
  }
  if (kept.empty()) c.fault("leave_out", "leaves out every layer");
  return kept;
}

std::vector<Site> HubReader::sites_at(const std::vector<int64_t>& layers,
                                      const std::vector<std::string>& parts) const {
  std::vector<Site> sites;
  for (const int64_t layer : layers) {
    for (const std::string& part : parts)
      sites.push_back(model_.sites.at("enc." + std::to_string(layer) + "." + part));
  }
  std::sort(sites.begin(), sites.end(),
            [](const Site& a, const Site& b) { return a.index < b.index; });
  return sites;
}

HubReader::Place HubReader::add(const std::string& kind, Node options, bool is_gated,
                                Node gate_options) {
  if (!is_gated) {
    const std::string path = foreign_.add(kind, std::move(options));
    return {path, path};
  }
  gate_options["pool"] = Node::text("mean");
  foreign_.edits.push_back(Node::map(
      {{"gate", std::move(gate_options)}, {"of", Node::map({{kind, std::move(options)}})}}));
  const std::string path = std::to_string(foreign_.edits.size() - 1) + ".gate/";
  return {path + "of/", path};
}

void HubReader::put_gate(const Place& place, const std::string& site, const std::string& theirs,
                         int64_t outputs, int64_t width) {
  foreign_.put(place.gate + site + ".gate.weight",
               tensors_.take(theirs + "weight", {outputs, width}));
  foreign_.put(place.gate + site + ".gate.bias", tensors_.take(theirs + "bias", {outputs}));
}

void HubReader::note_training_only(Options& c, const char* key) {
  const double rate = c.number(key, 0.0, 0, 1);
  if (rate > 0)
    notes_.push_back(std::string(key) + " " + Node::number(rate).scalar +
                     " of its training left out");
}

std::string HubReader::activation(Options& c, const char* fallback) {
  std::string name = c.text("non_linearity", fallback);
  if (version_.empty() && kOldActivations.contains(name)) name = kOldActivations.at(name);
  return name;
}

ForeignAdapter read_adapterhub(const Path& dir, const Model& model, const ImportAnswers& answers) {
  if (!family_of(model.config).is_in_adapterhub) {
    throw InputError(
        "'" + dir.string() +
        "': folders of AdapterHub are read for BERT and RoBERTa; the model is of type " +
        quote(model.config.model_type));
  }
  const Path file = dir / "adapter_config.json";
  const Node json = parse_json(read_file(file), file.string());
  return HubReader(dir, model, json, answers).read();
}

}  // namespace graft
