// Every case of tests/golden/adamix and tests/golden/mixtures: first logits and gradients, ten
// losses and where they lead.
//
// Beside the float32 trunk a float64 one runs, with float64 leaves: it must meet the reference to
// the rounding of the stored float32 values, also after ten steps of AdamW, which makes full steps
// of gradients that are small.
#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

#include "base/error.h"
#include "edit/stochastic.h"
#include "infer/predict.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "train/objective.h"
#include "train/optimizer.h"

namespace graft::testing::test_mixtures {
namespace {

using at::Tensor;

constexpr Tolerance kFloat{1e-5, 1e-4}, kDouble{1e-7, 1e-6};

const Node& manifest(const std::string& topic) {
  static std::map<std::string, Node> read;
  if (!read.contains(topic)) read[topic] = golden_manifest(topic);
  return read.at(topic);
}

std::string text_of(const Node& node) {
  return node.kind == Node::Kind::kList ? to_json(node, -1) : node.scalar;
}

struct GoldenCase {
  std::string topic, name;  // "adamix", "lora"
  const Node* entry;
  Precision precision;
  NamedTensors file;
  std::vector<Sequence> sequences;
  std::vector<double> labels;
  std::string definition;
  std::optional<Rig> rig;

  GoldenCase(const std::string& of_topic, const std::string& case_name, Precision of_trunk)
      : topic(of_topic),
        name(case_name),
        entry(manifest(topic).find("cases")->find(name)),
        precision(of_trunk) {
    file = load_safetensors(golden_dir(topic) / name / "case.safetensors").tensors;
    sequences = cut_sequences(file.at("ids"), file.at("token_types"), file.at("lengths"));
    const Tensor values = file.at("labels").to(at::kDouble).contiguous();
    labels.assign(values.const_data_ptr<double>(),
                  values.const_data_ptr<double>() + values.numel());
    if (file.contains("embedding")) {
      const Tensor all = file.at("embedding").contiguous();
      const int64_t width = all.size(1);
      for (size_t i = 0; i < sequences.size(); ++i) {
        const float* own = all.const_data_ptr<float>() + static_cast<int64_t>(i) * width;
        sequences[i].embedding.assign(own, own + width);
      }
    }
    definition = topic == "adamix" ? adamix_definition() : router_definition();
    rig.emplace(golden_model(common("model"), precision), definition, class_task(2));
    const NamedTensors init = tensors("init");
    EXPECT_EQ(init.size(), rig->tensors.size());
    const at::NoGradGuard no_grad;
    for (auto& [own, tensor] : rig->tensors) tensor.copy_(init.at(own));
    if (precision == Precision::kFloat64) rig->widen();
  }

  std::string common(const char* key) const { return text_of(*manifest(topic).find(key)); }
  int64_t batch_size() const {
    return static_cast<int64_t>(number_of(*manifest(topic).find("batch_size")));
  }
  Tolerance tolerance() const { return precision == Precision::kFloat64 ? kDouble : kFloat; }

  std::string of() const {
    const std::string sites = text_of(*entry->find("sites"));
    if (entry->find("kind")->scalar == "affine") return "{affine: {sites: " + sites + "}}";
    if (entry->find("kind")->scalar == "lora")
      return "{lora: {sites: " + sites + ", rank: " + common("rank") +
             ", alpha: " + common("alpha") + "}}";
    return "{bottleneck: {sites: " + sites +
           ", placement: sequential, activation: gelu, width: " + common("width") + "}}";
  }
  std::string adamix_definition() const {
    return "{edits: [{stochastic: {experts: " + common("experts") +
           ", share: " + text_of(*entry->find("share")) + "}, of: " + of() +
           "}], head: {dropout: 0}}";
  }
  std::string router_definition() const {
    std::string options = "experts: " + common("experts") + ", per_head: " +
                          (entry->find("per_head")->scalar == "true" ? "auto" : "false");
    for (const char* key : {"input", "top_k", "renormalize", "balance", "embedding"})
      options += std::string(", ") + key + ": " + text_of(*entry->find(key));
    return "{edits: [{router: {" + options + "}, of: " + of() + "}], head: {dropout: 0}}";
  }

  // "init.NAME", "grad.NAME" or "final.NAME" by NAME.
  NamedTensors tensors(const std::string& kind) const {
    NamedTensors out;
    for (const auto& [key, tensor] : file) {
      if (key.starts_with(kind + ".")) out[key.substr(kind.size() + 1)] = tensor;
    }
    return out;
  }

  std::vector<Sequence> batch(int64_t step) const {
    const auto begin = sequences.begin() + step * batch_size();
    return {begin, begin + batch_size()};
  }
  std::vector<double> batch_labels(int64_t step) const {
    const auto begin = labels.begin() + step * batch_size();
    return {begin, begin + batch_size()};
  }

  // A key whose draws are those of the manifest: there is one among few thousand, so that none
  // among a million means a route that cannot give them.
  RandomKey route(int64_t step, size_t pass) const {
    const Node& wanted = entry->find("routes")->items[static_cast<size_t>(step)].items[pass];
    const auto experts = static_cast<int64_t>(number_of(*manifest(topic).find("experts")));
    for (uint64_t value = 0; value < 1'000'000; ++value) {
      const RandomKey key{value}, own = key.with(rig->adapter->parts().front().path);
      bool fits = true;
      for (const auto& [place, expert] : wanted.members) {
        const size_t blank = place.find(' ');
        fits = fits && drawn_expert(own, place.substr(0, blank), place.substr(blank + 1),
                                    experts) == static_cast<int64_t>(number_of(expert));
      }
      if (fits) return key;
    }
    throw std::runtime_error("no key draws the experts of step " + std::to_string(step) +
                             ", pass " + std::to_string(pass));
  }

  struct StepResult {
    Tensor loss;
    std::vector<Tensor> logits;
    SideOutputs side;
  };

  StepResult step_loss(const BoundAdapter& bound, int64_t step) const {
    const std::vector<Sequence> rows = batch(step);
    const std::vector<double> expected = batch_labels(step);
    const bool has_two = topic == "adamix";
    StepResult out;
    std::vector<LaneInput> passes;
    std::vector<LaneAdapter> lanes;
    for (size_t pass = 0; pass < (has_two ? 2 : 1); ++pass) {
      passes.push_back(lane_of(rows, static_cast<int64_t>(pass)));
      lanes.push_back(
          {&bound, {.is_training = true, .route = has_two ? route(step, pass) : RandomKey{}}});
    }
    for (LaneResult& result :
         compute_logits(*rig->model, pack_of(*rig->model, passes), lanes, {})) {
      out.logits.push_back(result.logits);
      out.side.append(std::move(result.side));
    }
    out.loss = summed_loss(TaskKind::kClassification, out.logits[0], expected);
    if (has_two)
      out.loss = out.loss + number_of(*manifest(topic).find("consistency")) *
                                summed_consistency(out.logits[0], out.logits[1],
                                                   ConsistencyTargets::kDetached);
    out.loss = out.loss / static_cast<double>(rows.size());
    for (const SideOutput& each : out.side.losses) out.loss = out.loss + each.value;
    return out;
  }
};

using Parameter = std::tuple<std::string, std::string, Precision>;

std::vector<Parameter> parameters() {
  std::vector<Parameter> out;
  for (const char* topic : {"adamix", "mixtures"}) {
    for (const auto& [name, entry] : manifest(topic).find("cases")->members) {
      for (const Precision precision : {Precision::kFloat32, Precision::kFloat64})
        out.emplace_back(topic, name, precision);
    }
  }
  return out;
}

std::string name_of(const ::testing::TestParamInfo<Parameter>& info) {
  std::string name = std::get<0>(info.param) + "_" + std::get<1>(info.param) +
                     (std::get<2>(info.param) == Precision::kFloat64 ? "_float64" : "");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class GoldenMixtures : public ::testing::TestWithParam<Parameter> {
 protected:
  GoldenCase golden() const { return std::make_from_tuple<GoldenCase>(GetParam()); }
};

TEST_P(GoldenMixtures, FirstLogitsAndGradients) {
  GoldenCase golden = this->golden();
  NamedTensors found;
  {
    BoundAdapter bound(*golden.rig->model, *golden.rig->adapter, golden.rig->tensors,
                       Experts::kApart);
    const GoldenCase::StepResult first = golden.step_loss(bound, 0);
    if (golden.topic == "adamix") {
      for (size_t pass = 0; pass < 2; ++pass)
        expect_near(
            first.logits[pass],
            golden.file.at("logits." + std::to_string(pass)).to(first.logits[pass].scalar_type()),
            golden.tolerance(), "pass " + std::to_string(pass));
    } else {
      expect_near(first.logits[0], golden.file.at("logits").to(first.logits[0].scalar_type()),
                  golden.tolerance(), "logits");
    }
    torch::autograd::backward({first.loss}, {});
    bound.add_gradients_to_stored();
  }
  for (auto& [name, tensor] : golden.rig->tensors) {
    if (tensor.grad().defined()) found[name] = tensor.grad().to(at::kFloat);
  }
  expect_all_near(found, golden.tensors("grad"), golden.tolerance(), "gradients, of what has one");
  measured(golden.name + " gradients", largest_difference(found, golden.tensors("grad")));
}

TEST_P(GoldenMixtures, TenSteps) {
  GoldenCase golden = this->golden();
  const bool is_wide = std::get<2>(GetParam()) == Precision::kFloat64;
  const Node& given = *manifest(golden.topic).find("optimizer");
  const auto option = [&](const char* key) { return number_of(*given.find(key)); };
  AdamW optimizer(golden.rig->adapter->params(), {.beta1 = option("beta1"),
                                                  .beta2 = option("beta2"),
                                                  .epsilon = option("eps"),
                                                  .weight_decay = option("weight_decay")});
  const auto merged = [&] { return logits_of(*golden.rig, golden.batch(0)).to(at::kFloat); };
  if (golden.topic == "adamix")
    expect_near(merged(), golden.file.at("merged.before"), golden.tolerance(),
                "mean of the experts before");
  const std::vector<Node>& losses = golden.entry->find("losses")->items;
  ASSERT_EQ(losses.size(), 10U);
  for (int64_t step = 0; step < 10; ++step) {
    BoundAdapter bound(*golden.rig->model, *golden.rig->adapter, golden.rig->tensors,
                       Experts::kApart);
    const Tensor loss = golden.step_loss(bound, step).loss;
    const double expected = number_of(losses[static_cast<size_t>(step)]);
    EXPECT_NEAR(loss.item<double>(), expected, is_wide ? 1e-10 : 1e-5 + 1e-4 * expected)
        << "step " << step + 1;
    torch::autograd::backward({loss}, {});
    bound.add_gradients_to_stored();
    optimizer.step(golden.rig->tensors, option("learning_rate"));
  }
  NamedTensors final;
  for (const auto& [name, tensor] : golden.rig->tensors)
    final[name] = tensor.detach().to(at::kFloat);
  // Float32: AdamW's step of an entry whose gradients are near zero has the size of the learning
  // rate and the sign of rounding.
  if (is_wide) expect_all_near(final, golden.tensors("final"), kDouble, "tensors after ten steps");
  measured(golden.name + " final", largest_difference(final, golden.tensors("final")));
  if (golden.topic != "adamix") return;
  expect_near(merged(), golden.file.at("merged.after"), golden.tolerance(),
              "mean of the experts after");
  const NamedTensors init = golden.tensors("init");
  std::set<std::string> still, expected;
  for (const auto& [name, tensor] : final) {
    if (tensor.equal(init.at(name))) still.insert(name);
  }
  for (const Node& name : golden.entry->find("never_drawn")->items) expected.insert(name.scalar);
  EXPECT_EQ(still, expected) << "experts that were never drawn, and they alone, did not move";
}

// What a router says of its sequences: the mean shares of the first batch, of all rows.
TEST_P(GoldenMixtures, RecordsTheMeanSharesOfASequence) {
  const GoldenCase golden = this->golden();
  if (golden.topic != "mixtures") return;
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*golden.rig->model, *golden.rig->adapter, golden.rig->tensors);
  ForwardOptions options;
  options.keep_hidden = true;  // else the last block has first rows alone
  const std::vector<SideOutput> records =
      compute_logits(*golden.rig->model, pack_of(*golden.rig->model, {lane_of(golden.batch(0))}),
                     {{&bound, {.keeps_records = true}}}, options)
          .front()
          .side.records;
  const NamedTensors expected = golden.tensors("shares");
  EXPECT_EQ(records.size(), 2 * expected.size());
  for (const auto& [name, value, lane] : records) {
    if (name.ends_with(".entropy")) continue;
    const std::string site = name.substr(9, name.size() - 9 - 7);  // "0.router/" ... ".router"
    expect_near(value.to(at::kFloat), expected.at(site), kFloat,
                name);  // means have float32 divisors
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenMixtures, ::testing::ValuesIn(parameters()), name_of);

}  // namespace
}  // namespace graft::testing::test_mixtures
