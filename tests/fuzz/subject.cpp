#include "tests/fuzz/subject.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>

#include "base/error.h"
#include "edit/initial.h"
#include "interop/interop.h"
#include "model/gguf_model.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "text/tokenizer.h"
#include "train/checkpoint.h"
#include "train/config.h"

namespace graft::testing {

namespace {

namespace fs = std::filesystem;

Path golden(const std::string& name) { return Path(GRAFT_SOURCE_DIR) / "tests/golden" / name; }

template <class T>
const T& chosen(const std::vector<T>& all, uint64_t number) {
  return all[number % all.size()];
}

void copy_into(const Path& from, const Path& folder) {
  if (!fs::is_directory(from)) {
    fs::copy(from, folder / from.filename());
    return;
  }
  fs::copy(from, folder, fs::copy_options::recursive);
}

// ---- checkpoints: what is accepted is what was written, to the last bit

Checkpoint sample(int64_t step) {
  Checkpoint c;
  c.step = step;
  c.log_bytes = 1234 + step;
  c.tokens = 4321;
  c.seconds = 0.5;
  c.config = "settings";
  c.inputs = {{"the training data", "one"}, {"the base model", "two"}};
  c.best = {step - 30, 0.625, 0.75, 0.5, 2};
  c.tensors = {{"0.lora/a", normal_tensor({3, 4}, 1, RandomKey{static_cast<uint64_t>(step)})},
               {"head/out.weight", normal_tensor({2, 4}, 1, RandomKey{5})}};
  c.optimizer = {{"m/0.lora/a", normal_tensor({3, 4}, 1, RandomKey{6})},
                 {"t/0.lora/a", at::full({}, 5.0, at::kFloat)}};
  return c;
}

bool equal(const NamedTensors& a, const NamedTensors& b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](const auto& one, const auto& other) {
           return one.first == other.first && one.second.sizes() == other.second.sizes() &&
                  at::equal(one.second, other.second);
         });
}

void read_checkpoint(const Path& folder) {
  const std::optional<Checkpoint> found = load_newest_checkpoint(folder);
  if (!found) return;  // it has lost its marker
  const Checkpoint c = sample(130);
  const auto numbers = [](const Checkpoint& x) {
    return std::tie(x.step, x.log_bytes, x.tokens, x.seconds, x.config, x.inputs, x.best.step,
                    x.best.value, x.best.loss, x.best.counted, x.best.stale);
  };
  ensure(numbers(*found) == numbers(c) && equal(found->tensors, c.tensors) &&
             equal(found->optimizer, c.optimizer),
         "a checkpoint that is not the one written was accepted");
}

// ---- adapters and models: what is accepted computes

const std::vector<Sequence>& few_texts() {
  static const std::vector<Sequence> texts =
      random_sequences(golden_model("bert-tiny")->config, 3, 6, 1);
  return texts;
}

// One pass of the model with an adapter over three short texts.
void run_adapter(const LoadedAdapter& loaded, const Model& model) {
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(model, loaded.adapter, loaded.tensors);
  LaneInput lane = lane_of(few_texts());
  lane.layout = loaded.adapter.layout();
  run_lanes(model, pack_of(model, {lane}), {&bound});
}

void make_adapter(const Path& folder, uint64_t number) {
  static const std::vector<std::string> definitions = {
      "{edits: [{lora: {rank: 2}}]}", "{edits: [{affine: {}}, {bottleneck: {width: 2}}]}",
      "{edits: [{gate: {}, of: {lora: {rank: 2}}}, {prefix: {length: 2, mlp: 0}}]}"};
  const Rig rig(golden_model("bert-tiny"), chosen(definitions, number));
  save_adapter(folder, *rig.adapter, rig.tensors, *rig.model, {});
}

void read_adapter(const Path& folder) {
  const std::shared_ptr<const Model> model = golden_model("bert-tiny");
  const LoadedAdapter loaded = load_adapter(folder, *model);
  for (const auto& [name, tensor] : loaded.tensors)
    ensure(at::isfinite(tensor).all().item<bool>(), "an adapter's numbers are finite");
  run_adapter(loaded, *model);
  const TempFolder copy;
  save_adapter(copy.path(), loaded.adapter, loaded.tensors, *model, loaded.provenance);
  const LoadedAdapter again = load_adapter(copy.path(), *model);
  ensure(
      again.adapter.describe() == loaded.adapter.describe() && equal(again.tensors, loaded.tensors),
      "an adapter reads back equal");
}

// ---- adapters of peers

void make_peft(const Path& folder, uint64_t number) {
  static const std::vector<std::string> cases = {"peft/bert-ia3/peft", "peft/bert-dora/peft",
                                                 "peft/bert-prefix/peft"};
  copy_into(golden(chosen(cases, number)), folder);
}

void read_foreign(const std::string& format, const Path& folder, const std::optional<Task>& task) {
  const std::shared_ptr<const Model> model = golden_model("bert-tiny");
  run_adapter(import_adapter(format, folder, *model, task), *model);
}

// ---- models

void make_model(const Path& folder, uint64_t number) {
  static const std::vector<std::string> models = {"models/bert-tiny", "models/roberta-tiny",
                                                  "models/bert-sharded", "trunks/gpt2-tiny",
                                                  "trunks/llama-one-layer"};
  copy_into(golden(chosen(models, number)), folder);
  for (const char* outputs : {"expected.safetensors", "training.safetensors"})
    fs::remove(folder / outputs);
}

void make_gguf(const Path& folder, uint64_t number) {
  static const std::vector<std::string> files = {"gguf/llama.gguf", "gguf/qwen2.gguf",
                                                 "gguf/llama3.gguf"};
  fs::copy(golden(chosen(files, number)), folder / "model.gguf");
}

void make_gguf_tokenizer(const Path& folder, uint64_t number) {
  static const std::vector<std::string> files = {"gguf/tokens-smollm.gguf", "gguf/tokens-spm.gguf",
                                                 "gguf/tokens-qwen2.gguf"};
  fs::copy(golden(chosen(files, number)), folder / "model.gguf");
}

// A row of one token needs no tokenizer.
void read_model(const Path& folder) {
  const std::shared_ptr<const Model> model = load_model(folder, Precision::kFloat32);
  const at::NoGradGuard no_grad;
  const Rig bare(model, "{edits: []}", std::nullopt);
  const BoundAdapter bound(*model, *bare.adapter, bare.tensors);
  std::vector<Sequence> texts(1);
  texts[0].ids = {0};
  texts[0].type_ids = {0};
  ensure(!run_lanes(*model, pack_of(*model, {lane_of(texts)}), {&bound}).front().logits.defined(),
         "a bare trunk has no head");
}

void use_tokenizer(const Tokenizer& tokenizer) {
  for (const std::string text : {"The e\u0301 \u5ddd <s>[SEP] 12's", "", "a b"}) {
    const Encoding encoding = tokenizer.encode(text);
    for (const int64_t id : encoding.ids)
      ensure(id >= 0 && id < tokenizer.id_bound(), "an id that a token has");
    tokenizer.decode(encoding.ids, SpecialTokens::kKeep);
  }
}

void read_gguf_tokenizer(const Path& folder) {
  const GgufFile file(folder / "model.gguf");
  use_tokenizer(*Tokenizer::parse(gguf_tokenizer_json(file.metadata()), file.source()));
}

// ---- tokenizers

void make_tokenizer(const Path& folder, uint64_t number) {
  static const std::vector<std::string> files = {"text/bpe/tokenizer.json",
                                                 "text/wordpiece/tokenizer.json"};
  copy_into(golden(chosen(files, number)), folder);
}

void read_tokenizer(const Path& folder) { use_tokenizer(*Tokenizer::load(folder)); }

// ---- YAML: what is read is written, and read equal

void make_yaml(const Path& folder, uint64_t number) {
  const Path root = GRAFT_SOURCE_DIR;
  static const std::vector<std::string> files = {"presets/lora.yaml", "presets/unipelt-apl.yaml",
                                                 "tasks/sst2.yaml", "tasks/mail.yaml"};
  if (number % 5 < files.size()) return copy_into(root / files[number % 5], folder);
  write_file_atomically(folder / "run.yaml",
                        "model: m\ntask: sst2\nout: o\nadapter: {edits: [{lora: {rank: "
                        "2}}]}\ndata: {train: t.tsv, held_out: 0.1}\n"
                        "epochs: 2\nwarmup: 10\nlearning_rate: 1e-3\nevaluate_every: 100 "
                        "steps\ngeneration: {beams: 2}\n");
}

void read_yaml(const Path& folder) {
  if (fs::is_empty(folder)) throw InputError("no file");
  const Path file = fs::directory_iterator(folder)->path();
  const std::string source = file.string();
  const Node node = parse_yaml(read_file(file), source);
  ensure(parse_yaml(to_yaml(node), source) == node, "a document reads back equal");
  if (file.filename() == "run.yaml") {
    const Node config = run_config_node(parse_run_config(node, Node::null(), source));
    ensure(run_config_node(parse_run_config(config, Node::null(), source)) == config,
           "settings read back equal");
  } else if (node.find("edits") != nullptr) {
    const std::shared_ptr<const Model> model = golden_model("bert-tiny");
    const Node definition = Node::map({{"edits", *node.find("edits")}});
    const EditTarget target{model->config, model->sites};
    const Node described = Adapter(definition, source, target, std::nullopt).describe();
    ensure(Adapter(described, source, target, std::nullopt).describe() == described,
           "a definition reads back equal");
  } else {
    const Task task = parse_task(node, source);
    ensure(parse_task(task_to_node(task), source) == task, "a task reads back equal");
  }
}

// ---- data: the rows that are read are written, and read equal

void make_data(const Path& folder, uint64_t number) {
  static const std::vector<std::pair<std::string, std::string>> files = {
      {"x.tsv", "id\ttext\tlabel\n1\tone two\tyes\n2\tthree\tno\n"},
      {"x.csv", "id,text,label\n1,\"one, \"\"two\"\"\",yes\n2,\"three\nfour\",no\n"},
      {"x.jsonl",
       "{\"text\": \"one\", \"label\": \"yes\", \"n\": 1.50}\n{\"text\": \"zw\u00f6lf\", "
       "\"label\": \"no\"}\n"},
      {"x.json",
       "[{\"text\": \"one\", \"label\": \"yes\", \"n\": null},\n {\"text\": \"two\", \"label\": "
       "\"no\"}]\n"}};
  const auto& [name, text] = chosen(files, number);
  write_file_atomically(folder / name, text);
}

void read_data(const Path& folder) {
  if (fs::is_empty(folder)) throw InputError("no file");
  const Table table = read_table(fs::directory_iterator(folder)->path());
  Task task;
  task.name = "fuzz";
  auto& classes = task.at<Classification>();
  classes.text = column_or_template("text");
  classes.label_column = "label";
  classes.labels = {"yes", "no"};
  task.metrics = {"accuracy"};
  const std::vector<Example> examples = to_examples(table, task, LabelUse::kOptional);
  ensure(examples.size() == table.rows.size(), "an example a row");
  const Table again =
      parse_table(write_table(table, TableFormat::kJsonl), TableFormat::kJsonl, "written");
  ensure(again.columns == table.columns && again.rows.size() == table.rows.size(),
         "rows read back equal");
  for (size_t r = 0; r < table.rows.size(); ++r)
    ensure(again.rows[r].cells == table.rows[r].cells, "cells read back equal");
}

}  // namespace

const std::vector<Subject>& subjects() {
  static const std::vector<Subject> all = {
      {"checkpoint", [](const Path& folder, uint64_t) { save_checkpoint(folder, sample(130)); },
       read_checkpoint},
      {"adapter", make_adapter, read_adapter},
      {"PEFT adapter", make_peft,
       [](const Path& folder) { read_foreign("peft", folder, class_task(3)); }},
      {"AdapterHub's",
       [](const Path& folder, uint64_t) {
         copy_into(golden("adapterhub/bert-lora/adapterhub"), folder);
       },
       [](const Path& folder) { read_foreign("adapterhub", folder, class_task(3)); }},
      {"pickled adapter",
       [](const Path& folder, uint64_t) {
         copy_into(golden("adapterhub/bert-unipelt/adapterhub"), folder);
       },
       [](const Path& folder) { read_foreign("adapterhub", folder, std::nullopt); }},
      {"model", make_model, read_model},
      {"GGUF model", make_gguf, read_model},
      {"GGUF tokenizer", make_gguf_tokenizer, read_gguf_tokenizer},
      {"tokenizer", make_tokenizer, read_tokenizer},
      {"YAML file", make_yaml, read_yaml},
      {"data", make_data, read_data},
  };
  return all;
}

}  // namespace graft::testing
