// Texts of tiny decoders with edits: written with a cache, judged by the bare trunk or by one pass
// over the whole text with the written tokens as targets. What the tests of the methods' acceptance
// lines share that only a decoder or an encoder-decoder can show.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "infer/generate.h"
#include "infer/text_losses.h"
#include "model/families.h"
#include "model/language_batch.h"
#include "tests/edit/recorder.h"
#include "tests/infer/decoding_rig.h"
#include "tests/support/compare.h"

namespace graft::testing {

using at::Tensor;
using Ids = std::vector<int64_t>;

constexpr Tolerance kExact{1e-11, 1e-11};  // float64, logits of about 20

// Log-probabilities of texts of at most six tokens: generation chooses by float32 scores, of logits
// of about 20.
constexpr double kWritten = 1e-5;

// A tiny model of any family with 40 positions, as those with a table or an end of them have 10.
inline std::shared_ptr<const Model> long_model(const std::string& name, Precision precision) {
  Node changes = Node::map();
  if (name == "gpt2") changes["n_positions"] = Node::integer(40);
  if (name == "bart" || name == "llama") changes["max_position_embeddings"] = Node::integer(40);
  ModelConfig config = parse_config(tiny_config(name, changes), "tiny");
  Sites sites(config);
  Weights weights(config, random_base(config, 1), precision);
  return std::make_shared<const Model>(
      Model{"long " + name, std::move(config), std::move(sites), std::move(weights)});
}

inline Rig wide_rig(const std::shared_ptr<const Model>& model, const std::string& edits,
                    double shaken) {
  Rig rig(model, "{edits: [" + edits + "]}", std::nullopt);
  if (shaken > 0) rig.shake(shaken);
  rig.widen();
  return rig;
}

inline Dataset rows_of(std::vector<Sequence> sequences) {
  Dataset data;
  data.sequences = std::move(sequences);
  data.examples.resize(data.sequences.size());
  return data;
}

// The prompt with what was written as targets.
inline Sequence with_targets(const ModelConfig& config, const Sequence& prompt,
                             const Ids& written) {
  Sequence text{.example = prompt.example, .ids = prompt.ids, .subspace = prompt.subspace};
  if (config.has_encoder()) {
    text.asked = TargetIds{written};
    return text;
  }
  std::vector<bool> is_target(text.ids.size(), false);
  text.ids.insert(text.ids.end(), written.begin(), written.end());
  is_target.resize(text.ids.size(), true);
  text.asked = TargetMarks{std::move(is_target)};
  return text;
}

// log p(written | prompt) of one pass over everything, nothing kept.
inline double teacher_forced(const Rig& rig, const Sequence& prompt, const Ids& written) {
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  return -text_losses(*rig.model, bound,
                      rows_of({with_targets(rig.model->config, prompt, written)}))
              .sums.front();
}

inline PromptLane prompts_of(const BoundAdapter& bound, const std::vector<Sequence>& prompts) {
  PromptLane out;
  out.lane.bound = &bound;
  out.prompts = lane_of(prompts).sequences;
  return out;
}

inline std::vector<std::vector<Generated>> written_by(const Rig& rig,
                                                      const std::vector<Sequence>& prompts,
                                                      const GenerateOptions& options) {
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  return generate(*rig.model, {prompts_of(bound, prompts)}, options);
}

inline void expect_teacher_forced(const Rig& rig, const std::vector<Sequence>& prompts,
                                  const GenerateOptions& options, const std::string& what) {
  const auto texts = written_by(rig, prompts, options);
  for (size_t n = 0; n < prompts.size(); ++n) {
    EXPECT_EQ(texts[n].size(), static_cast<size_t>(options.beams)) << what;
    for (const Generated& text : texts[n])
      EXPECT_NEAR(text.log_probability, teacher_forced(rig, prompts[n], text.tokens), kWritten)
          << what << " prompt " << n;
  }
}

struct Recorded {
  LanguageBatch batch;
  NamedTensors xs, ys;
};

inline Recorded recorded(const Rig& rig, const std::vector<Sequence>& texts,
                         const std::set<std::string>& sites) {
  const at::NoGradGuard no_grad;
  Recorded out{
      .batch = make_language_batch(*rig.model, {lane_of(rig, texts)}, pack_options(*rig.model)),
      .xs = {},
      .ys = {}};
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  LaneHooks lanes(*rig.model, {{&bound, {}}});
  Recorder recorder(lanes, sites);
  ForwardOptions options;
  options.keep_hidden = true;
  forward(*rig.model, bound.weights(), out.batch.input(), recorder, options);
  out.xs = recorder.xs;
  out.ys = recorder.ys;
  return out;
}

class DecoderAcceptance : public ::testing::TestWithParam<std::string> {
 protected:
  std::shared_ptr<const Model> model(Precision precision = Precision::kFloat64) const {
    return long_model(GetParam(), precision);
  }
  std::vector<Sequence> texts(const Model& model) const {
    return random_texts(model.config, 4, 9, 3);
  }
};

}  // namespace graft::testing
