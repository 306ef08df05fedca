// Every case of tests/golden/generation_settings: with the settings that a model's own files give,
// and the user's over them, texts are those of the reference's generate().
#include <gtest/gtest.h>

#include <set>

#include "infer/generation_settings.h"
#include "infer/model_generation.h"
#include "tests/golden/generation_files.h"
#include "tests/golden/trunks.h"
#include "tests/support/testing.h"

namespace graft::testing::test_generation_settings {
namespace {

// A folder with the case's files: all that is read of a model for its settings.
void write_folder(const Path& folder, const Node& model_config, const Node& entry) {
  Node config = model_config;
  for (const auto& [key, value] : entry.find("config")->members) {
    if (value.scalar == "absent")
      std::erase_if(config.members,
                    [&name = key](const auto& member) { return member.first == name; });
    else config[key] = value;
  }
  std::filesystem::create_directories(folder);
  write_file_atomically(folder / "config.json", to_json(config));
  if (const Node* own = entry.find("generation_config"); own->kind == Node::Kind::kMap)
    write_file_atomically(folder / "generation_config.json", to_json(*own));
}

class GoldenSettings : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenSettings, TextsAreThoseOfTheLibrary) {
  const Path path = golden_dir("generation_settings") / (GetParam() + ".json");
  const Node file = parse_json(read_file(path), path.string());
  const auto model = golden_model(GetParam(), Precision::kFloat32, "trunks");
  const Rig rig(model, "{}", std::nullopt);
  const BoundAdapter bound(*model, *rig.adapter, rig.tensors);
  const Path config = golden_dir("trunks") / GetParam() / "config.json";
  const Node config_json = parse_json(read_file(config), config.string());
  const TempFolder folder;
  std::set<std::string> texts;
  for (const auto& [name, entry] : file.find("cases")->members) {
    write_folder(folder / name, config_json, entry);
    const ModelGeneration own = read_model_generation(folder / name, model->config);
    GenerateOptions options =
        join_generation(*entry.find("flags"), own.settings, "flags", name).options;
    options.sampling.end_ids = ids_of(*entry.find("ends"));
    EXPECT_TRUE(own.other.empty()) << name;
    for (const Node& result : entry.find("results")->items) {
      const std::vector<Sequence> prompts = {{0, ids_of(*result.find("prompt"))}};
      PromptLane lane;
      lane.lane.bound = &bound;
      lane.prompts = lane_of(prompts).sequences;
      const std::vector<int64_t> tokens = generate(*model, {lane}, options).front().front().tokens;
      EXPECT_EQ(tokens, ids_of(*result.find("tokens")))
          << GetParam() << " " << name << " after " << to_json(*result.find("prompt"), -1);
      texts.insert(to_json(*result.find("tokens"), -1));
    }
  }
  EXPECT_GT(file.find("cases")->members.size(), 35U);
  EXPECT_GT(texts.size(), 40U) << "the settings tell the cases apart";
}

std::vector<std::string> models() {
  std::vector<std::string> names;
  const Node manifest = golden_manifest("generation_settings");
  for (const auto& [name, entry] : manifest.find("models")->members) names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenSettings, ::testing::ValuesIn(models()), parameter_name);

}  // namespace
}  // namespace graft::testing::test_generation_settings
