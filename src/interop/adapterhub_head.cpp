#include "interop/adapterhub_head.h"

#include <algorithm>

#include "base/error.h"
#include "data/plain_task.h"
#include "interop/adapterhub.h"
#include "interop/torch_writer.h"
#include "model/families.h"

namespace graft {

namespace {

constexpr const char* kConfigFile = "head_config.json";
constexpr const char* kTask = "ForSequenceClassification";

// Our layers of a head, and where a flex head of so many layers keeps them: dropout, linear,
// activation, dropout, linear.
using HeadLayers = std::vector<std::pair<std::string, std::string>>;

class HeadReader {
 public:
  HeadReader(const Path& dir, const Model& model, ForeignAdapter& foreign, const Node& json)
      : model_(model),
        family_(family_of(model.config)),
        json_(json),
        config_(json_, (dir / kConfigFile).string()),
        tensors_(load_foreign_tensors(dir, "model_head.safetensors", "pytorch_model_head.bin")),
        foreign_(foreign) {}

  std::string read() {
    ignore_fields(config_, {"model_name", "version"});
    config_.choice("model_type", model_.config.model_type, {model_.config.model_type});
    config_.integer("hidden_size", model_.config.width, model_.config.width, model_.config.width);
    const bool is_static = is_unused(config_.raw("config"));
    const HeadLayers layers = is_static ? static_layers() : read_flex();
    ignore_unused(config_, json_);
    for (const auto& [ours, theirs] : layers)
      foreign_.put_head_layer(Adapter::kHeadPath + ours, theirs, model_.config, tensors_);
    if (layers.empty()) {
      for (const auto& [name, tensor] : tensors_.all()) tensors_.drop(name);
    }
    try {
      tensors_.finish(faults_of(config_));
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  }

 private:
  HeadLayers read_flex() {
    Options& section = config_.section("config");
    const HeadLayers layers = flex_layers(section);
    ignore_unused(section, *json_.find("config"));
    return layers;
  }

  HeadLayers static_layers() {
    ignore_fields(config_, {"name", "num_labels"});
    const std::string name = config_.text("model_class", family_.classifier_class);
    if (name != family_.classifier_class)
      config_.fault("model_class", "expected " + family_.classifier_class + ", found " +
                                       quote(name) + ": heads for other tasks have no place here");
    read_labels(config_);
    return name == family_.classifier_class ? family_.head_names : HeadLayers();
  }

  HeadLayers flex_layers(Options& c) {
    ignore_fields(config_, {"model_class", "label2id"});
    ignore_fields(c, {"num_labels"});
    const std::string type = c.text("head_type", "classification");
    if (type != "classification")
      c.fault("head_type", "expected classification, found " + quote(type) +
                               ": heads for other tasks have no place here");
    if (!c.boolean("bias", true)) c.fault("bias", "expected true: a head here has a bias");
    if (!is_unused(c.raw("dropout_prob")))
      foreign_.head["dropout"] = Node::number(c.number("dropout_prob", std::nullopt, 0, 0.99));
    read_labels(c);
    const int64_t layers = c.integer("layers", 2, 1, 100);
    const bool uses_pooler = c.boolean("use_pooler", false);
    const std::string function =
        is_unused(c.raw("activation_function")) ? "null" : c.text("activation_function", "tanh");
    const std::string start = "heads." + config_.text("name", std::nullopt) + ".";
    const bool has_pooler = graft::has_pooler(model_.config);
    if (layers == 1 && uses_pooler && has_pooler) return {{"out", start + "1"}};
    if (layers == 2 && !uses_pooler && function == "tanh") {
      if (has_pooler) foreign_.head["pooler"] = Node::text("trained");
      return {{has_pooler ? "pooler" : "dense", start + "1"}, {"out", start + "4"}};
    }
    c.fault("layers", "expected 2 layers with tanh between them on the first token" +
                          std::string(has_pooler ? ", or 1 layer on the pooler" : "") + "; found " +
                          std::to_string(layers) +
                          (uses_pooler ? " on the pooler" : " on the first token") +
                          ", activation_function " + function);
    return {};
  }

  // Names in the order of their numbers. LABEL_0, LABEL_1, ... stand for none.
  void read_labels(Options& c) {
    const Node* node = c.raw("label2id");
    if (is_unused(node)) return;
    if (node->kind != Node::Kind::kMap) return c.fault("label2id", "expected numbers by label");
    std::vector<std::string> labels(node->members.size());
    bool are_named = labels.size() > 1;
    Options& section = c.section("label2id");
    for (const auto& [label, number] : node->members) {
      const int64_t index =
          section.integer(label, std::nullopt, 0, static_cast<int64_t>(labels.size()) - 1);
      are_named &= label != "LABEL_" + std::to_string(index);
      labels[static_cast<size_t>(
          std::clamp<int64_t>(index, 0, static_cast<int64_t>(labels.size()) - 1))] = label;
    }
    const bool are_distinct = std::none_of(labels.begin(), labels.end(),
                                           [](const std::string& label) { return label.empty(); });
    if (!are_named || !are_distinct) return;
    if (const std::string fault = labels_fault(labels); !fault.empty())
      return c.fault("label2id", fault);
    foreign_.task = plain_task(labels);
  }

  const Model& model_;
  const Family& family_;
  Node json_;
  Options config_;
  ForeignTensors tensors_;
  ForeignAdapter& foreign_;
};

Node numbers_by_label(const Task& task) {
  Node out = Node::map();
  const std::vector<std::string> labels =
      task.kind() == TaskKind::kRegression ? std::vector<std::string>{"LABEL_0"} : task.labels();
  for (size_t i = 0; i < labels.size(); ++i)
    out[labels[i]] = Node::integer(static_cast<int64_t>(i));
  return out;
}

}  // namespace

std::string read_hub_head(const Path& dir, const Model& model, ForeignAdapter& foreign) {
  std::error_code error;
  const Path file = dir / kConfigFile;
  if (!std::filesystem::exists(file, error)) return "";
  const Node json = parse_json(read_file(file), file.string());
  return HeadReader(dir, model, foreign, json).read();
}

bool has_static_head(const Adapter& adapter) { return !adapter.head()->trains_pooler(); }

std::string hub_model_class(const Adapter& adapter, const Model& model) {
  const std::string& full = family_of(model.config).classifier_class;
  if (adapter.head() != nullptr && has_static_head(adapter)) return full;
  return full.substr(0, full.size() - std::string_view(kTask).size()) +
         (adapter.head() == nullptr ? "Model" : "AdapterModel");
}

void write_hub_head(const Path& dir, const Adapter& adapter, const NamedTensors& tensors,
                    const Model& model, const std::string& name) {
  const Head& head = *adapter.head();
  const Task& task = *adapter.task();
  const Family& family = family_of(model.config);
  const bool is_static = has_static_head(adapter);
  HeadLayers layers = family.head_names;
  Node config = Node::map(), inner;
  if (!is_static) {
    layers = {{"pooler", "heads." + name + ".1"}, {"out", "heads." + name + ".4"}};
    const double dropout = number_in(head.describe(), "dropout");
    inner = Node::map(
        {{"activation_function", Node::text("tanh")},
         {"bias", Node::boolean(true)},
         {"dropout_prob",
          dropout == model.config.classifier_dropout ? Node::null() : Node::number(dropout)},
         {"head_type", Node::text("classification")},
         {"label2id", numbers_by_label(task)},
         {"layers", Node::integer(2)},
         {"num_labels", Node::integer(head.outputs())},
         {"use_pooler", Node::boolean(false)}});
  }
  config["config"] = inner;
  config["hidden_size"] = Node::integer(model.config.width);
  if (is_static) config["label2id"] = numbers_by_label(task);
  config["model_class"] = Node::text(hub_model_class(adapter, model));
  config["model_name"] = Node::text(model.source);
  config["model_type"] = Node::text(model.config.model_type);
  config["name"] = is_static ? Node::null() : Node::text(name);
  if (is_static) config["num_labels"] = Node::integer(head.outputs());
  config["version"] = Node::text(kAdapterHubVersion);
  save_torch_file(dir / "pytorch_model_head.bin", head_named(adapter, tensors, layers));
  write_file_atomically(dir / kConfigFile, to_json(config) + "\n");
}

}  // namespace graft
