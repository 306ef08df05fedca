// Folders that AdapterHub and pyreft wrote: imported they compute what the peers compute, exported
// again they say the same.
#include <gtest/gtest.h>

#include "base/error.h"
#include "edit/adapter_file.h"
#include "edit/rotation.h"
#include "interop/interop.h"
#include "interop/pickle.h"
#include "interop/torch_writer.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_folders {
namespace {

constexpr Tolerance kFloat{1e-5, 1e-4};
// A rotation is stored as numbers that are orthonormal to float32, and read back through the chart.
constexpr Tolerance kRotation{2e-6, 0};

struct Case {
  std::string format;
  Path folder, values;
  std::string model;
  std::optional<Task> task;
  ImportAnswers answers;
  Node entry;
};

const std::map<std::string, Case>& cases() {
  static const std::map<std::string, Case> found = [] {
    std::map<std::string, Case> out;
    for (const std::string format : {"adapterhub", "pyreft"}) {
      const Node manifest = golden_manifest(format);
      for (const auto& [name, entry] : manifest.find("cases")->members) {
        Case one{format,
                 golden_dir(format) / name / format,
                 golden_dir(format) / name / "case.safetensors",
                 entry.find("model")->scalar,
                 {},
                 {},
                 entry};
        const bool names_labels =
            format == "adapterhub" && entry.find("names_labels")->scalar == "true";
        if (number_of(*entry.find("num_labels")) > 0 && !names_labels) one.task = class_task(3);
        if (format == "adapterhub") one.answers.reft_kind = entry.find("reft_kind")->scalar;
        else
          one.answers = {entry.find("positions")->scalar,
                         entry.find("tied")->scalar == "false",
                         entry.find("activation")->scalar,
                         {}};
        out[format + "-" + name] = one;
      }
    }
    return out;
  }();
  return found;
}

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const auto& [name, one] : cases()) names.push_back(name);
  return names;
}

class GoldenFolder : public ::testing::TestWithParam<std::string> {
 protected:
  const Case& golden() const { return cases().at(GetParam()); }
  std::shared_ptr<const Model> model() const { return golden_model(golden().model); }
  LoadedAdapter imported() const {
    return import_adapter(golden().format, golden().folder, *model(), golden().task,
                          golden().answers);
  }
};

bool is_free_projection(const Case& golden) {
  const Node* cls = golden.entry.find("class");
  return cls != nullptr &&
         (cls->scalar == "NoreftIntervention" || cls->scalar == "NodireftIntervention");
}

// Its reader does not know DiReFT, so that another form of it is written.
bool is_direct(const Case& golden) { return golden.answers.reft_kind == "direft"; }

TEST_P(GoldenFolder, ImportedItComputesWhatThePeerComputes) {
  NamedTensors file = load_safetensors(golden().values).tensors;
  const std::vector<Sequence> sequences =
      cut_sequences(file.at("ids"), file.at("token_types"), file.at("lengths"));
  const LoadedAdapter loaded = imported();
  Rig rig(model(), to_json(loaded.adapter.describe()), loaded.adapter.task());
  {
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : rig.tensors) tensor.copy_(loaded.tensors.at(name));
  }
  if (file.contains("logits"))
    return expect_near(logits_of(rig, sequences), file.at("logits"), kFloat, "logits");
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  const LaneResult result = run_lanes(*rig.model, pack_of(*rig.model, {lane_of(rig, sequences)}),
                                      {&bound}, {.keep_hidden = true})
                                .front();
  expect_near(result.hidden.back(), file.at("last"), kFloat, "last hidden states");
}

TEST_P(GoldenFolder, ImportExportImportIsTheSameAdapter) {
  if (golden().format == "pyreft" && is_free_projection(golden()))
    return;  // refused: RefusesWhatItCannotOpen
  const TempFolder folder;
  const LoadedAdapter first = imported();
  export_adapter(golden().format, folder / "out", first, *model());
  ImportAnswers answers = golden().answers;
  answers.reft_kind.clear();        // what we write says it
  if (is_direct(golden())) return;  // HubExport.WritesDiReftAsNoReft
  const LoadedAdapter second =
      import_adapter(golden().format, folder / "out", *model(), first.adapter.task(), answers);
  Node before = first.adapter.describe(), after = second.adapter.describe();
  for (Node* each : {&before, &after}) {
    for (Node& edit : (*each)["edits"].items) {
      if (Node* reft = edit.find("reft") != nullptr ? &edit["reft"] : nullptr)
        (*reft)["tied"] = Node::null();  // of one side alone it says nothing
    }
  }
  if (golden().format == "pyreft") {  // a rotation alone says nothing of dropout
    EXPECT_EQ(to_json(after["edits"]), to_json(before["edits"]));
  } else {
    EXPECT_EQ(to_json(after), to_json(before));
  }
  ASSERT_EQ(second.tensors.size(), first.tensors.size());
  for (const auto& [name, tensor] : first.tensors) {
    if (name.ends_with(".base")) expect_near(second.tensors.at(name), tensor, kRotation, name);
    else expect_bits(second.tensors.at(name), tensor, name);
  }
}

TEST_P(GoldenFolder, SavedAndLoadedItIsTheSameAdapter) {
  const TempFolder folder;
  const LoadedAdapter first = imported();
  save_adapter(folder / "own", first.adapter, first.tensors, *model(), first.provenance);
  const LoadedAdapter second = load_adapter(folder / "own", *model());
  expect_all_bits(second.tensors, first.tensors, "tensors");
  EXPECT_NE(second.provenance.origin.find(golden().folder.string()), std::string::npos);
}

// A rotation keeps its columns orthonormal however its chart is moved: an imported one can be
// trained on.
TEST_P(GoldenFolder, ImportedRotationsStayOrthonormal) {
  const LoadedAdapter loaded = imported();
  for (const auto& [name, base] : loaded.tensors) {
    if (!name.ends_with(".base")) continue;
    const at::NoGradGuard no_grad;
    const std::string stem = name.substr(0, name.size() - 4);
    const at::Tensor moved =
        loaded.tensors.at(stem + "chart") + at::tril(at::ones_like(base) * 0.3, -1);
    const at::Tensor q = rotation_of(moved, base);
    expect_near(at::mm(q.t(), q), at::eye(q.size(1)), {1e-5, 0}, name);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenFolder, ::testing::ValuesIn(case_names()), parameter_name);

// ---- what is written, beside what the peer wrote

NamedTensors hub_tensors(const Path& folder, const char* safe, const char* bin) {
  return load_foreign_tensors(folder, safe, bin).all();
}

std::string renamed(std::string name, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = name.find("." + from + ".", at)) != std::string::npos;)
    name.replace(at + 1, from.size(), to);
  return name;
}

// Fields that say how training began, or that have several texts for one meaning.
const std::set<std::string> kHubFree = {"attn_matrices",
                                        "init_weights",
                                        "cross_adapter",
                                        "cross_prefix",
                                        "encoder_prefix",
                                        "residual_before_ln",
                                        "original_ln_before",
                                        "tied_weights",
                                        "bottleneck_size",
                                        "shared_gating",
                                        "reduction_factor",
                                        "non_linearity",
                                        "dtype",
                                        "subtract_projection",
                                        "label2id"};

void expect_fields(const Node& found, const Node& expected, const std::string& where) {
  for (const auto& [key, value] : expected.members) {
    const Node* own = found.find(key);
    ASSERT_NE(own, nullptr) << where << key << " is not written";
    if (kHubFree.contains(key)) continue;
    if (value.kind == Node::Kind::kMap) expect_fields(*own, value, where + key + "/");
    else if (key == "configs") {
      ASSERT_EQ(own->items.size(), value.items.size());
      for (size_t i = 0; i < value.items.size(); ++i)
        expect_fields(own->items[i], value.items[i], where + "configs/" + std::to_string(i) + "/");
    } else {
      EXPECT_EQ(to_json(*own), to_json(value)) << where << key;
    }
  }
}

class HubFolder : public GoldenFolder {};

TEST_P(HubFolder, ExportedItHasTheFieldsAndTensorsThatAdapterHubWrote) {
  const TempFolder folder;
  export_adapter("adapterhub", folder / "out", imported(), *model());
  const auto config = [](const Path& path) {
    return parse_json(read_file(path / "adapter_config.json"), "config");
  };
  Node expected = config(golden().folder);
  for (const char* key : {"name", "model_name", "version", "model_class"})
    expected[key] = *config(folder / "out").find(key);  // of the writer
  // A version that left alpha/r out is exported as one with alpha = r; a vector times alpha as
  // alpha 1.
  if (GetParam() == "adapterhub-roberta-lora-old" || GetParam() == "adapterhub-roberta-ia3")
    expected["config"]["alpha"] = *config(folder / "out").find("config")->find("alpha");
  expect_fields(config(folder / "out"), expected, "/");
  const NamedTensors theirs =
      hub_tensors(golden().folder, "adapter.safetensors", "pytorch_adapter.bin");
  const NamedTensors ours =
      hub_tensors(folder / "out", "adapter.safetensors", "pytorch_adapter.bin");
  for (const auto& [name, tensor] : ours) {
    std::string other = renamed(name, "graft", "golden");
    if (GetParam() == "adapterhub-roberta-direft")
      other = renamed(other, "units.0",
                      "units.1");  // of last tokens alone: one unit here, the second of two there
    const auto found = theirs.find(other);
    ASSERT_NE(found, theirs.end()) << name;
    const bool is_chart =
        name.find("parametrizations") != std::string::npos;  // another chart of the same rotation
    if (GetParam() == "adapterhub-roberta-ia3") expect_bits(tensor, found->second * 2, name);
    else if (is_direct(golden()) && name.ends_with("learned_source.weight")) continue;
    else if (!is_chart) expect_bits(tensor, found->second, name);
  }
  for (const auto& [name, tensor] : theirs) {
    const bool is_copy = name.find(".pool.") != std::string::npos,
               is_idle = ours.size() * 2 == theirs.size() &&
                         name.find(".units.") != std::string::npos;  // of a side without positions
    EXPECT_TRUE(is_copy || is_idle || ours.contains(renamed(name, "golden", "graft"))) << name;
  }
  if (!std::filesystem::exists(golden().folder / "head_config.json")) return;
  NamedTensors head =
      hub_tensors(golden().folder, "model_head.safetensors", "pytorch_model_head.bin");
  NamedTensors own_head =
      hub_tensors(folder / "out", "model_head.safetensors", "pytorch_model_head.bin");
  ASSERT_EQ(own_head.size(), head.size());
}

std::vector<std::string> hub_names() {
  std::vector<std::string> names = case_names();
  std::erase_if(names, [](const std::string& name) { return !name.starts_with("adapterhub"); });
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, HubFolder, ::testing::ValuesIn(hub_names()), parameter_name);

TEST(PyreftFolder, ExportedItHasTheFilesAndFieldsThatPyreftWrote) {
  for (const auto& [name, golden] : cases()) {
    if (golden.format != "pyreft" || is_free_projection(golden) ||
        name == "pyreft-bert-loreft-dots")
      continue;
    const TempFolder folder;
    const auto model = golden_model(golden.model);
    export_adapter("pyreft", folder / "out",
                   import_adapter("pyreft", golden.folder, *model, golden.task, golden.answers),
                   *model);
    const auto config = [](const Path& path) {
      Node out = parse_json(read_file(path / "config.json"), "config");
      std::erase_if(out.members,
                    [](const auto& member) { return member.first == "transformers_version"; });
      return to_json(out);
    };
    EXPECT_EQ(config(folder / "out"), config(golden.folder)) << name;
    for (const auto& entry : std::filesystem::directory_iterator(golden.folder)) {
      const std::string file = entry.path().filename().string();
      if (!file.ends_with(".bin")) continue;
      const NamedTensors ours = load_torch_file(folder / "out" / file),
                         theirs = load_torch_file(entry.path());
      ASSERT_EQ(ours.size(), theirs.size()) << file;
      for (const auto& [key, tensor] : theirs) {
        EXPECT_EQ(ours.at(key).scalar_type(), tensor.scalar_type()) << key;
        if (key == "rotate_layer") expect_near(ours.at(key), tensor, kRotation, key);
        else if (key.find("parametrizations") == std::string::npos)
          expect_bits(ours.at(key), tensor,
                      file + " " + key);  // another chart of the same rotation
      }
    }
  }
}

// h + P^T (W h + b) is NoReFT with W + P for W; the probe of export_adapter compares the two.
TEST(HubExport, WritesDiReftAsNoReft) {
  const Case& golden = cases().at("adapterhub-roberta-direft");
  const auto model = golden_model(golden.model);
  const TempFolder folder;
  const LoadedAdapter first =
      import_adapter("adapterhub", golden.folder, *model, golden.task, golden.answers);
  EXPECT_LT(export_adapter("adapterhub", folder / "out", first, *model).largest_difference, 1e-5);
  const LoadedAdapter second = import_adapter("adapterhub", folder / "out", *model, golden.task);
  EXPECT_EQ(second.adapter.describe()["edits"].items.front().find("reft")->find("subtract")->scalar,
            "true");
  const std::string stem = "0.reft/enc.1.out.tied.";
  expect_bits(second.tensors.at(stem + "weight"),
              first.tensors.at(stem + "weight") + first.tensors.at(stem + "projection"), "W + P");
}

// What is written is read back equal, by the reader of files of torch.save.
TEST(TorchWriter, WritesWhatTheReaderReads) {
  const TempFolder folder;
  const NamedTensors tensors = {{"a", at::arange(6, at::kFloat).view({2, 3})},
                                {"b.weight", at::zeros({0})},
                                {"c", at::tensor(int64_t{7}, at::kLong).squeeze()},
                                {"d", at::arange(6, at::kFloat).view({2, 3}).t()}};
  save_torch_file(folder / "x.bin", tensors);
  expect_all_bits(load_torch_file(folder / "x.bin"), tensors, "x.bin");
}

}  // namespace
}  // namespace graft::testing::test_folders
