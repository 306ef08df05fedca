// config.json as transformers 5 writes it: with it every model of tests/golden computes what it
// computes with its own.
#include <gtest/gtest.h>

#include "model/trunk.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_transformers5 {
namespace {

// The files of a golden model beside another config.json.
std::shared_ptr<const Model> with_config(const Path& folder, const Path& config,
                                         const TempFolder& place) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model")) std::filesystem::create_symlink(entry.path(), place / name);
  }
  std::filesystem::copy_file(config, place / "config.json");
  return load_model(place.path(), Precision::kFloat32);
}

// The last states of sequences, and what the vocabulary's output layer makes of them.
std::pair<at::Tensor, at::Tensor> answers(const Model& model) {
  const at::NoGradGuard no_grad;
  const std::vector<Sequence> sequences = random_sequences(model.config, 4, 10, 3);
  const Pack pack = pack_of(model, {lane_of(sequences)}, 16);
  Pack decoder = pack;
  for (int64_t n = 0; n < decoder.num_sequences(); ++n) decoder.sources.push_back(n);
  const bool has_both = model.config.is_encoder_decoder();
  NoHooks hooks;
  const ModelInput input = has_both ? ModelInput{&pack, &decoder} : input_of(model.config, pack);
  const at::Tensor last = forward(model, model.weights, input, hooks, {}).last;
  if (!model.config.has_decoder()) return {last, last};
  return {last, whole_logits(last, model.weights.output_layer(model.config))};
}

TEST(Transformers5, ConfigsSayWhatTheOldOnesSay) {
  const Node manifest = golden_manifest("transformers5");
  const auto& models = manifest.find("models")->members;
  for (const auto& [name, entry] : models) {
    SCOPED_TRACE(name);
    const std::string folder = entry.find("folder")->scalar;
    const auto old = golden_model(name, Precision::kFloat32, folder);
    const TempFolder place;
    const auto now = with_config(golden_dir(folder) / name,
                                 golden_dir("transformers5") / (name + ".json"), place);
    EXPECT_EQ(now->config.encoder, old->config.encoder);
    EXPECT_EQ(now->config.decoder, old->config.decoder);
    EXPECT_EQ(now->config.max_positions, old->config.max_positions);
    EXPECT_EQ(now->config.has_tied_output, old->config.has_tied_output);
    EXPECT_EQ(now->config.output_scale, old->config.output_scale);
    expect_all_bits(now->weights.all_base(), old->weights.all_base(), name);
    const auto [found_states, found_logits] = answers(*now);
    const auto [states, logits] = answers(*old);
    expect_bits(found_states, states, name + " states");
    expect_bits(found_logits, logits, name + " logits");
  }
  EXPECT_EQ(models.size(), 40U);
}

}  // namespace
}  // namespace graft::testing::test_transformers5
