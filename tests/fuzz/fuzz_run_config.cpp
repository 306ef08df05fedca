// Fuzz target: any YAML as run.yaml, as an adapter's definition and as a task, against a tiny
// model. Only InputError may escape; what is accepted gives the same again after it was resolved,
// written and read.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "data/task.h"
#include "edit/adapter.h"
#include "train/config.h"
#include "train/plan.h"

namespace {

using namespace graft;

const ModelConfig& tiny_config() {
  static const ModelConfig kConfig = parse_config(
      parse_json(
          R"({"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
                     "vocab_size": 20, "max_position_embeddings": 16, "type_vocab_size": 2, "pad_token_id": 0, "hidden_act": "gelu",
                     "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1})",
          "tiny"),
      "tiny");
  return kConfig;
}

const Task& two_labels() {
  static const Task kTask = load_task("text:a,b", ".");
  return kTask;
}

void check_run(const Node& node) {
  RunConfig config;
  try {
    config = parse_run_config(node, Node::null(), "fuzz");
  } catch (const InputError&) {
    return;
  }
  const Node resolved = run_config_node(config);
  const Node again = parse_yaml(to_yaml(resolved), "written");
  ensure(run_config_node(parse_run_config(again, Node::null(), "written")) == resolved,
         "a resolved run.yaml reads back equal");
}

void check_adapter(const Node& node) {
  static const Sites kSites(tiny_config());
  const EditTarget target{tiny_config(), kSites};
  try {
    const Adapter adapter(node, "fuzz", target, two_labels());
    const Node resolved = adapter.describe();
    const Adapter again(parse_yaml(to_yaml(resolved), "written"), "written", target, two_labels());
    ensure(again.describe() == resolved, "a resolved definition reads back equal");
    const Plan plan = make_plan(adapter, tiny_config(), {});
    ensure(plan.stored_parameters > 0 && plan.memory.peak() > 0, "counts are positive");
  } catch (const InputError&) {
  }
}

void check_task(const Node& node) {
  Task task;
  try {
    task = parse_task(node, "fuzz");
  } catch (const InputError&) {
    return;
  }
  ensure(parse_task(parse_yaml(to_yaml(task_to_node(task)), "written"), "written") == task,
         "a task reads back equal");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Node node;
  try {
    node = parse_yaml({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const InputError&) {
    return 0;
  }
  check_run(node);
  check_adapter(node);
  check_task(node);
  if (node.kind != Node::Kind::kMap) return 0;
  if (const Node* adapter = node.find("adapter")) check_adapter(*adapter);
  return 0;
}
