#include "train/digests.h"

#include <algorithm>
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
    for (const bool is_target : row.is_target()) key = key.with(static_cast<uint64_t>(is_target));
    for (const int64_t id : row.target_ids()) key = key.with(static_cast<uint64_t>(id));
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

// Over what a row brings that is no token of it.
RandomKey with_columns(RandomKey key, const Dataset& data) {
  for (const Sequence& row : data.sequences) {
    key = key.with(row.embedding.size());
    for (const float number : row.embedding) key = key.with(std::bit_cast<uint32_t>(number));
    key = key.with(row.subspace.size());
    for (const int64_t index : row.subspace) key = key.with(static_cast<uint64_t>(index));
  }
  return key;
}

// Over what written texts are scored against.
RandomKey with_references(RandomKey key, const Dataset& prompts) {
  for (const Example& example : prompts.examples) {
    const auto& row = example.at<GenerationRow>();
    key = key.with(row.references.size());
    for (const std::string& reference : row.references) key = key.with(reference);
    key = key.with(row.answer.value_or(""));
  }
  return key;
}

// An entry beside that of the rows' tokens, which stays as earlier versions made it.
std::string columns_of(const std::string& rows) {
  return "what stands beside the texts of " + rows;
}

using Digests = std::map<std::string, std::string>;

void put(Digests& out, const std::string& name, const Dataset& rows) {
  out[name] = digest_of(rows);
  out[columns_of(name)] = std::to_string(with_columns({}, rows).value);
}

void put(Digests& out, const std::string& name, const EvalData& data) {
  out[name] = digest_of(data.rows);
  RandomKey key = with_columns({}, data.rows);
  for (const Example& example : data.rows.examples)
    key = key.with(example.group());  // by which scores are made
  if (data.prompts) key = with_references(key.with(digest_of(*data.prompts)), *data.prompts);
  out[columns_of(name)] = std::to_string(key.value);
}

std::string digest_of(const Model& model) {
  std::string text;
  for (const auto& [name, digest] : model.weights.base_fingerprints())
    text += name + " " + digest + "\n";
  return sha256(text);
}

// Settings that graft 0.1.0 did not know: they count where they say something, so that its
// checkpoints are still resumed.
const std::vector<std::string> kNewer = {
    "ignore_config_keys", "lengthened_from", "adamw_form", "seeds",
    "consistent_values",  "task_options",    "cache",      "record"};
const std::vector<std::string> kNewerOfData = {"shuffle", "dev_rows", "forgetting"};
const std::vector<std::string> kNewerOfAdafactor = {"factored"};
const std::vector<std::string> kNewerOfGeneration = {
    "max_total_tokens", "early_stopping",     "encoder_no_repeat_ngram",
    "bad_words",        "min_total_tokens",   "forced_bos",
    "forced_eos",       "suppress_tokens",    "begin_suppress_tokens",
    "model_defaults",   "no_repeat_ngram_in", "end_ids"};

// As graft 0.1.0 called it.
void use_old_names(Node& settings) {
  for (auto& [key, value] : settings.members) {
    if (key != "missing_gradient") continue;
    key = "undrawn";
    value.scalar = value.scalar == "zero" ? "move" : "rest";
  }
}

void leave_out_usual(Node& node, const Node& usual, const std::vector<std::string>& keys) {
  std::erase_if(node.members, [&](const auto& member) {
    return std::find(keys.begin(), keys.end(), member.first) != keys.end() &&
           member.second == *usual.find(member.first);
  });
}

}  // namespace

std::string digest_of(RunConfig config) {
  config.out.clear();
  Node settings = run_config_node(config);
  const Node usual = run_config_node(RunConfig{});
  leave_out_usual(settings, usual, kNewer);
  leave_out_usual(settings["data"], *usual.find("data"), kNewerOfData);
  leave_out_usual(settings["adafactor"], *usual.find("adafactor"), kNewerOfAdafactor);
  leave_out_usual(settings["generation"], *usual.find("generation"), kNewerOfGeneration);
  use_old_names(settings);
  return sha256(to_json(settings, -1));
}

std::map<std::string, std::string> digests_of(const RunInputs& inputs) {
  Digests out = {{"the tokenizer", inputs.tokenizer_digest},
                 {"the base model", digest_of(*inputs.model)}};
  put(out, "the training data", *inputs.train);
  if (inputs.eval) put(out, "the evaluation data", *inputs.eval);
  if (inputs.test) put(out, "the test data", *inputs.test);
  if (inputs.plain) out["the plain text of data.forgetting"] = digest_of(*inputs.plain);
  for (const EvalTaskData& each : inputs.eval_tasks)
    put(out, "the data of evaluation task '" + each.name + "'", *each.data);
  return out;
}

}  // namespace graft
