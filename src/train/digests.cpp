#include "train/digests.h"

#include <bit>

#include "base/digest.h"

namespace graft {

namespace {

// Over every row's ids, types, options and label, in order.
std::string digest_of(const Dataset& data) {
  RandomKey key;
  for (size_t i = 0; i < data.sequences.size(); ++i) {
    const Sequence& row = data.sequences[i];
    key = key.with(row.ids.size());
    for (const int64_t id : row.ids) key = key.with(static_cast<uint64_t>(id));
    for (const int64_t type : row.type_ids) key = key.with(static_cast<uint64_t>(type));
    for (const bool is_target : row.is_target) key = key.with(static_cast<uint64_t>(is_target));
    for (const int64_t id : row.target_ids) key = key.with(static_cast<uint64_t>(id));
    if (!data.options.empty()) {
      for (const std::vector<int64_t>& option : data.options[i]) {
        key = key.with(option.size());
        for (const int64_t id : option) key = key.with(static_cast<uint64_t>(id));
      }
    }
    key = key.with(std::bit_cast<uint64_t>(data.examples[i].label.value_or(0)));
  }
  return std::to_string(key.value);
}

std::string digest_of(const Model& model) {
  std::string text;
  for (const auto& [name, digest] : model.weights.base_fingerprints()) text += name + " " + digest + "\n";
  return sha256(text);
}

}  // namespace

std::string digest_of(RunConfig config) {
  config.out.clear();
  return sha256(to_json(run_config_node(config), -1));
}

std::map<std::string, std::string> digests_of(const RunInputs& inputs) {
  std::map<std::string, std::string> out = {{"the training data", digest_of(inputs.train)},
                                            {"the tokenizer", inputs.tokenizer_digest},
                                            {"the base model", digest_of(*inputs.model)}};
  if (inputs.eval) out["the evaluation data"] = digest_of(inputs.eval->rows);
  if (inputs.test) out["the test data"] = digest_of(inputs.test->rows);
  for (const JudgedTask& each : inputs.eval_tasks) {
    out["the data of evaluation task '" + each.name + "'"] = digest_of(each.data.rows);
  }
  return out;
}

}  // namespace graft
