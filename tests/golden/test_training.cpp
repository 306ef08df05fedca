// Every case of tests/golden/training and tests/golden/bottleneck: first logits, loss and
// gradients, then ten steps through Run, the code that users train with.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>

#include "base/error.h"
#include "tensor/safetensors.h"
#include "tests/golden/names.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/run.h"

namespace graft::testing::test_training {
namespace {

constexpr Tolerance kFloat{1e-5, 1e-4};

struct EditOfCase {
  const char* suffix;  // of the case's name, after the family
  const char* kind;
  const char* definition;  // of the `edits` list
};
constexpr EditOfCase kEdits[] = {
    {"lora", "lora", "[{lora: {rank: 4, alpha: 8}}]"},
    {"pair-regression", "lora", "[{lora: {rank: 4, alpha: 8}}]"},
    {"lora-all", "lora", "[{lora: {rank: 4, alpha: 8, sites: ['attn.[qkvo]', ffn.up, ffn.down]}}]"},
    {"lora-rs", "lora", "[{lora: {rank: 4, alpha: 8, rslora: true}}]"},
    {"dora", "dora", "[{dora: {rank: 4, alpha: 8}}]"},
    {"ia3", "affine", "[{affine: {}}]"},
    {"vera", "vera",
     "[{vera: {rank: 6, sites: ['attn.[qkvo]', ffn.up, ffn.down], projection_seed: 3}}]"},
    {"houlsby", "bottleneck",
     "[{bottleneck: {sites: [attn.out, ffn.out], placement: sequential, reduction: 4, activation: "
     "swish}}]"},
    {"pfeiffer", "bottleneck", "[{bottleneck: {reduction: 4}}]"},
    {"parallel", "bottleneck", "[{bottleneck: {placement: parallel, reduction: 4, scaling: 4}}]"},
    {"pfeiffer-learned", "bottleneck",
     "[{bottleneck: {reduction: 8, activation: gelu, scaling: learned}}]"},
    {"parallel-channel", "bottleneck",
     "[{bottleneck: {placement: parallel, reduction: 8, activation: tanh, scaling: channel}}]"},
    {"full", "full", "[{full: {}}]"},
    {"bitfit", "bitfit", "[{bitfit: {}}]"},
    {"head", "", "[]"},
};

// One recipe of data, optimizer and files, by the peer that computed them: PEFT, and AdapterHub.
constexpr const char* kFolders[] = {"training", "bottleneck"};

const Node& manifest(const std::string& folder) {
  static const std::map<std::string, Node> nodes = [] {
    std::map<std::string, Node> out;
    for (const char* each : kFolders) out[each] = golden_manifest(each);
    return out;
  }();
  return nodes.at(folder);
}

// Names are unique over the folders.
std::string folder_of(const std::string& case_name) {
  for (const char* folder : kFolders) {
    if (manifest(folder).find("cases")->find(case_name) != nullptr) return folder;
  }
  throw InternalError("no golden case " + case_name);
}

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const char* folder : kFolders) {
    for (const auto& [name, entry] : manifest(folder).find("cases")->members) names.push_back(name);
  }
  return names;
}

// PEFT keeps the vectors of (IA)^3 as [out, 1] or [1, in].
bool is_vector(const Node& about) {
  const Node* role = about.find("role");
  return role != nullptr && role->scalar == "ia3";
}

struct TrainingCase {
  std::string name, folder;
  const Node* entry;
  const EditOfCase* edit = nullptr;
  std::shared_ptr<const Model> model;
  Task task;
  NamedTensors file;
  std::vector<Sequence> sequences;
  std::vector<double> labels;

  explicit TrainingCase(const std::string& case_name)
      : name(case_name),
        folder(folder_of(case_name)),
        entry(manifest(folder).find("cases")->find(case_name)) {
    model = golden_model(entry->find("model")->scalar);
    const std::string suffix = name.substr(model->config.model_type.size() + 1);
    for (const EditOfCase& known : kEdits) {
      if (suffix == known.suffix) edit = &known;
    }
    if (edit == nullptr) throw InternalError("no edit for case " + name + ": add it to kEdits");
    const auto outputs = static_cast<int64_t>(number_of(*entry->find("num_labels")));
    task = outputs == 1 ? regression_task() : class_task(outputs);
    file = load_safetensors(golden_dir(folder) / name / "case.safetensors").tensors;
    sequences = cut_sequences(file.at("ids"), file.at("token_types"), file.at("lengths"));
    const at::Tensor values = file.at("labels").to(at::kDouble).contiguous();
    labels.assign(values.const_data_ptr<double>(),
                  values.const_data_ptr<double>() + values.numel());
  }

  std::string definition() const {
    return std::string("{edits: ") + edit->definition + ", head: {dropout: 0}}";
  }

  // Tensors "init.NAME", "grad.NAME" or "final.NAME" by stored name.
  NamedTensors expected(const std::string& kind) const {
    NamedTensors out;
    for (const auto& [theirs, about] : entry->find("trained")->members) {
      const auto found = file.find(kind + "." + theirs);
      if (found == file.end()) continue;
      out[stored_name(theirs, about, edit->kind, model->config.model_type)] =
          is_vector(about) ? found->second.flatten() : found->second;
    }
    return out;
  }

  std::set<std::string> zero_gradient() const {
    std::set<std::string> out;
    for (const Node& item : entry->find("zero_gradient")->items) {
      out.insert(stored_name(item.scalar, *entry->find("trained")->find(item.scalar), edit->kind,
                             model->config.model_type));
    }
    return out;
  }

  Rig rig() const {
    Rig rig(model, definition(), task);
    const at::NoGradGuard no_grad;
    for (const auto& [own, tensor] : expected("init")) rig.tensors.at(own).copy_(tensor);
    return rig;
  }
};

class GoldenTraining : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenTraining, TrainsTheTensorsThatTheReferenceTrains) {
  const TrainingCase golden(GetParam());
  std::map<std::string, std::pair<std::vector<int64_t>, bool>> expected, found;
  for (const auto& [theirs, about] : golden.entry->find("trained")->members) {
    std::vector<int64_t> shape;
    for (const Node& size : about.find("shape")->items)
      shape.push_back(static_cast<int64_t>(number_of(size)));
    if (is_vector(about)) shape = {std::max(shape[0], shape[1])};
    expected[stored_name(theirs, about, golden.edit->kind, golden.model->config.model_type)] = {
        shape, about.find("decays")->scalar == "true"};
  }
  for (const ParamSpec& param : golden.rig().adapter->params()) {
    if (param.role == Role::kTrained) found[param.name] = {param.shape, param.decays};
  }
  EXPECT_EQ(found, expected);
}

TEST_P(GoldenTraining, FirstBatch) {
  const TrainingCase golden(GetParam());
  Rig rig = golden.rig();
  const std::vector<Sequence> batch(golden.sequences.begin(), golden.sequences.begin() + 8);
  const std::vector<double> labels(golden.labels.begin(), golden.labels.begin() + 8);
  expect_near(logits_of(rig, batch, {.is_training = true}, 64), golden.file.at("logits"), kFloat,
              "logits");

  LossAndGradients found = gradients_of(rig, batch, labels, {.is_training = true}, 64);
  const double loss = number_of(golden.entry->find("losses")->items.front());
  EXPECT_NEAR(found.loss / 8, loss, 1e-5 + 1e-4 * loss);
  for (auto& [name, gradient] : found.gradients) gradient = gradient / 8;
  const NamedTensors expected = golden.expected("grad");
  expect_all_near(found.gradients, expected, kFloat, "gradients of the first batch");
  measured(GetParam() + " gradients", largest_difference(found.gradients, expected));
}

struct StepRow {
  double loss, rate, norm;
};

// Ten steps through Run: initial tensors from an adapter folder, batches in file order, the
// manifest's optimizer and schedule.
std::vector<StepRow> run_ten_steps(const TrainingCase& golden, int64_t accumulate,
                                   NamedTensors& tensors) {
  const TempFolder folder;
  const Rig start = golden.rig();
  save_adapter(folder / "start", *start.adapter, start.tensors, *golden.model, {});

  const Node& about = manifest(golden.folder);
  const Node& given = *about.find("optimizer");
  RunInputs inputs;
  inputs.config.model = golden.model->source;
  inputs.config.out = (folder / "run").string();
  inputs.config.adapter = yaml(golden.definition());
  inputs.config.start_from = (folder / "start").string();
  inputs.config.epochs = 1;
  inputs.config.accumulate = accumulate;
  inputs.config.batch_size =
      static_cast<int64_t>(number_of(*about.find("batch_size"))) / accumulate;
  inputs.config.order = Order::kFile;
  inputs.config.learning_rate = number_of(*given.find("learning_rate"));
  inputs.config.warmup = {0, static_cast<int64_t>(number_of(*given.find("warmup_steps")))};
  inputs.config.weight_decay = number_of(*given.find("weight_decay"));
  inputs.config.beta1 = number_of(*given.find("beta1"));
  inputs.config.beta2 = number_of(*given.find("beta2"));
  inputs.config.epsilon = number_of(*given.find("eps"));
  inputs.config.clip = number_of(*given.find("clip"));
  inputs.config.dropout = 0.0;
  inputs.config.checkpoint_every = {Period::Unit::kNever, 0};
  inputs.model = golden.model;
  inputs.task = golden.task;
  inputs.adapter = defined_adapter(inputs.config, inputs.model->config, inputs.task);
  const auto data = std::make_shared<Dataset>();
  data->sequences = golden.sequences;
  for (size_t i = 0; i < golden.sequences.size(); ++i) {
    Example example;
    example.id = static_cast<int64_t>(i);
    example.label = golden.labels[i];
    data->examples.push_back(std::move(example));
  }
  inputs.train = data;

  Run run(std::move(inputs), StartMode::kFresh);
  EXPECT_EQ(run.total_steps(), 10);
  while (!run.is_done()) run.step();
  run.finish();
  tensors = load_safetensors(folder / "run" / "adapter" / "adapter.safetensors").tensors;

  std::vector<StepRow> rows;
  std::ifstream log(folder / "run" / "log.jsonl");
  for (std::string line; std::getline(log, line);) {
    const Node event = parse_json(line, "log.jsonl");
    if (event.find("event")->scalar != "step") continue;
    rows.push_back({number_of(*event.find("loss")), number_of(*event.find("learning_rate")),
                    number_of(*event.find("gradient_norm"))});
  }
  return rows;
}

void expect_ten_steps(const TrainingCase& golden, int64_t accumulate, const char* losses) {
  NamedTensors found;
  const std::vector<StepRow> rows = run_ten_steps(golden, accumulate, found);
  ASSERT_EQ(rows.size(), 10U);
  double worst = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const double loss = number_of(golden.entry->find(losses)->items[i]);
    const double norm = number_of(golden.entry->find("gradient_norms")->items[i]);
    EXPECT_NEAR(rows[i].loss, loss, 1e-5 + 1e-4 * loss) << "step " << i + 1;
    EXPECT_NEAR(rows[i].norm, norm, 1e-5 + 1e-4 * norm) << "gradient norm of step " << i + 1;
    EXPECT_NEAR(rows[i].rate, number_of(golden.entry->find("learning_rates")->items[i]), 1e-12)
        << "rate of step " << i + 1;
    worst = std::max(worst, std::abs(rows[i].loss - loss));
  }
  measured(golden.name + " losses", worst);
  NamedTensors expected = golden.expected("final");
  // The gradient of a key's bias is zero but for rounding, and Adam turns noise of any size into
  // steps of the full rate.
  for (const std::string& name : golden.zero_gradient()) {
    EXPECT_EQ(expected.erase(name) + found.erase(name), 2U) << name;
  }
  expect_all_near(found, expected, kFloat, "tensors after ten steps");
  measured(golden.name + " final", largest_difference(found, expected));
}

TEST_P(GoldenTraining, TenSteps) { expect_ten_steps(TrainingCase(GetParam()), 1, "losses"); }

TEST_P(GoldenTraining, TenStepsOfTwoBatches) {
  expect_ten_steps(TrainingCase(GetParam()), 2, "losses_accumulate_2");
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTraining, ::testing::ValuesIn(case_names()), parameter_name);

// No case may go missing.
TEST(GoldenTrainingList, HasEveryFolder) {
  size_t cases = 0;
  for (const char* folder : kFolders) {
    std::set<std::string> listed, found;
    for (const auto& [name, entry] : manifest(folder).find("cases")->members) {
      listed.insert(name);
      EXPECT_EQ(folder_of(name), folder) << name << " is in two folders";
    }
    for (const auto& entry : std::filesystem::directory_iterator(golden_dir(folder))) {
      if (entry.is_directory()) found.insert(entry.path().filename().string());
    }
    EXPECT_EQ(found, listed) << folder;
    cases += listed.size();
  }
  EXPECT_EQ(case_names().size(), cases);
}

}  // namespace
}  // namespace graft::testing::test_training
