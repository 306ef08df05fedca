// Texts that name the rows of the projection through which ReFT acts on them (Wu et al. 2024,
// arXiv:2404.03592, app. G.1): Phi_S(h) = h + P_S^T (s(h) - P h)_S, by hand in float64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "edit/rotation.h"
#include "infer/choices.h"
#include "tests/edit/decoder_texts.h"
#include "tests/support/gradients.h"
#include "tests/support/testing.h"
#include "train/optimizer.h"

namespace graft::testing::test_reft_subspaces {
namespace {

using Rows = std::vector<int64_t>;

constexpr int64_t kRank = 4;

std::string reft(const std::string& options) {
  return "{edits: [{reft: {rank: 4, " + options + "}}]}";
}

// Four texts: two rows, one row, none named, all named.
std::vector<Sequence> named_texts(const ModelConfig& config, int64_t longest = 7) {
  std::vector<Sequence> texts = random_sequences(config, 4, longest, 5);
  texts[0].subspace = {0, 2};
  texts[1].subspace = {3};
  texts[3].subspace = {0, 1, 2, 3};
  return texts;
}

// One site called by hand.
struct AtSite {
  std::shared_ptr<const Model> model = tiny_model("bert", Precision::kFloat64);
  std::vector<Sequence> texts = named_texts(model->config);
  Pack pack = pack_of(*model, {lane_of(texts)}, 4);
  Tensor h = at::cos(at::arange(pack.num_rows * 8, at::kDouble)).view({-1, 8});
  Rig rig;

  explicit AtSite(const std::string& options) : rig(model, reft(options)) {
    rig.shake(0.3);
    rig.widen();
  }
  Tensor stored(const std::string& name) const {
    const auto found = rig.tensors.find("0.reft/enc.0.out." + name);
    return found == rig.tensors.end() ? Tensor() : found->second.detach();
  }
  Tensor changed() const {
    const at::NoGradGuard no_grad;
    const AdapterTensors derived = rig.adapter->derive(rig.tensors, model->weights);
    const Edit& edit = *rig.adapter->parts().front().edit;
    const SiteView view{model->sites.at("enc.0.out"), pack, pack.whole(), {}, h, {}, {}};
    return apply_change(h, edit.change(Params(derived.parts[0]), view, edit.input(view), {}, {}));
  }
};

struct Variant {
  const char *name, *options;
  bool subtracts = true, has_tanh = false;
};

const std::vector<Variant>& variants() {
  static const std::vector<Variant> kAll = {
      {"LoReFT", "rotation: true"},
      {"NoReFT", "rotation: false, projection_bias: true"},
      {"DiReFT", "rotation: false, subtract: false", false},
      {"rotated DiReFT", "subtract: false", false},
      {"ConsReFT", "source: constant"},
      {"LobiReFT", "source: constant, subtract: false", false},
      {"with tanh", "activation: tanh", true, true},
  };
  return kAll;
}

// Phi_S of one row h [C] with the tensors of one set of positions, row of P by row.
Tensor edited(const AtSite& at, const Variant& variant, const std::string& set, const Tensor& h,
              const Rows& subspace) {
  const Tensor chart = at.stored(set + ".chart");
  const Tensor p = chart.defined() ? rotation_of(chart, at.stored(set + ".base")).t()
                                   : at.stored(set + ".projection");
  const Tensor w = at.stored(set + ".weight"), b = at.stored(set + ".bias"),
               c = at.stored(set + ".projection_bias");
  Tensor out = h.clone();
  for (int64_t k = 0; k < kRank; ++k) {
    if (std::find(subspace.begin(), subspace.end(), k) == subspace.end()) continue;
    Tensor source = w.defined() ? w[k].dot(h) + b[k] : b[k];
    if (variant.has_tanh) source = source.tanh();
    if (variant.subtracts) source = source - p[k].dot(h) - (c.defined() ? c[k] : at::zeros({}));
    out = out + source * p[k];
  }
  return out;
}

Rows acting_on(const Sequence& text) {
  return text.subspace.empty() ? Rows{0, 1, 2, 3} : text.subspace;
}

TEST(Subspaces, EachTextIsChangedThroughTheRowsThatItNames) {
  for (const Variant& variant : variants()) {
    const AtSite at(std::string("positions: all, ") + variant.options);
    const Tensor found = at.changed();
    for (size_t n = 0; n < at.texts.size(); ++n) {
      for (int64_t row = at.pack.sequences[n].begin; row < at.pack.sequences[n].end; ++row)
        expect_near(found[row], edited(at, variant, "tied", at.h[row], acting_on(at.texts[n])),
                    {1e-12, 0}, variant.name);
    }
  }
}

TEST(Subspaces, FirstAndLastTokensHaveThemInSetsOfTheirOwn) {
  for (const char* tied : {"true", "false"}) {
    const Variant variant{"untied", ""};
    const AtSite at(std::string("positions: f2+l1, clamp: length, tied: ") + tied);
    const bool is_tied = std::string(tied) == "true";
    const Tensor found = at.changed();
    for (size_t n = 0; n < at.texts.size(); ++n) {
      const RowRange rows = at.pack.sequences[n];
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        const bool is_last = row + 1 == rows.end, is_first = !is_last && row - rows.begin < 2;
        const char* set = is_tied ? "tied" : is_last ? "suffix" : "prefix";
        const Tensor expected = is_last || is_first
                                    ? edited(at, variant, set, at.h[row], acting_on(at.texts[n]))
                                    : at.h[row];
        expect_near(found[row], expected, {1e-12, 0}, set);
      }
    }
  }
}

// The adapter's own subspace says which rows there are; texts name some of these.
TEST(Subspaces, LieInThatOfTheAdapter) {
  AtSite at("positions: all, subspace: [3, 0, 2]");
  at.texts[3].subspace = {0, 2, 3};
  at.pack = pack_of(*at.model, {lane_of(at.texts)}, 4);
  const Tensor found = at.changed();
  for (size_t n = 0; n < at.texts.size(); ++n) {
    const Rows acting = at.texts[n].subspace.empty() ? Rows{0, 2, 3} : at.texts[n].subspace;
    for (int64_t row = at.pack.sequences[n].begin; row < at.pack.sequences[n].end; ++row)
      expect_near(found[row], edited(at, {"", ""}, "tied", at.h[row], acting), {1e-12, 0}, "h");
  }
}

// A union at inference: what is named of two disjoint subspaces adds up.
TEST(Subspaces, AUnionAddsTheChangesOfItsParts) {
  const auto delta = [](const Rows& subspace) {
    AtSite at("positions: all");
    for (Sequence& text : at.texts) text.subspace = subspace;
    at.pack = pack_of(*at.model, {lane_of(at.texts)}, 4);
    return at.changed() - at.h;
  };
  expect_near(delta({0, 2}) + delta({1}), delta({0, 1, 2}), {1e-12, 0}, "union");
  EXPECT_GT(difference_of(delta({0, 2}), delta({0, 1, 2})).absolute, 0.01);
}

TEST(Subspaces, NoneNamedIsAllNamedToTheBit) {
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    const auto model = tiny_model("bert", precision);
    Rig rig(model, reft("positions: f2+l1, tied: false"));
    rig.shake(0.3);
    std::vector<Sequence> texts = random_sequences(model->config, 4, 7, 5);
    EXPECT_TRUE(pack_of(*model, {lane_of(texts)}).subspaces.empty()) << "nothing to look up";
    const Tensor plain = logits_of(rig, texts);
    texts[0].subspace = {0, 1, 2, 3};
    expect_bits(logits_of(rig, texts), plain, "all rows of one text");
    texts[0].subspace = {0};
    const Tensor named = logits_of(rig, texts);
    EXPECT_GT(difference_of(named[0], plain[0]).absolute, 1e-3);
    for (const int64_t n : {1, 2, 3}) expect_bits(named[n], plain[n], "its neighbours");
  }
}

// On a bfloat16 trunk the change is made in float32 and rounded once.
TEST(Subspaces, OnABfloat16TrunkTheChangeIsThatOfFloat32) {
  const auto change_of = [&](Precision precision) {
    const auto model = tiny_model("bert", precision);
    Rig rig(model, reft("positions: all"));
    rig.shake(0.3);
    const std::vector<Sequence> texts = named_texts(model->config);
    const Pack pack = pack_of(*model, {lane_of(texts)});
    const Tensor h = at::cos(at::arange(pack.num_rows * 8, at::kFloat)).view({-1, 8});
    const Tensor y = h.to(at::kBFloat16).to(model->weights.dtype());
    const at::NoGradGuard no_grad;
    const AdapterTensors derived = rig.adapter->derive(rig.tensors, model->weights);
    const Edit& edit = *rig.adapter->parts().front().edit;
    const SiteView view{model->sites.at("enc.0.out"), pack, pack.whole(), {}, y, {}, {}};
    const Change change = edit.change(Params(derived.parts[0]), view, edit.input(view), {}, {});
    return change.add.defined() ? change.add : at::mm(change.code, change.basis.t());
  };
  const Tensor narrow = change_of(Precision::kBFloat16);
  EXPECT_EQ(narrow.scalar_type(), at::kFloat);
  expect_near(narrow, change_of(Precision::kFloat32), {1e-6, 1e-6}, "change");
}

TEST(Subspaces, GradientsAreThoseOfDifferences) {
  const auto model = tiny_model("bert", Precision::kFloat64);
  const std::vector<Sequence> texts = named_texts(model->config);
  const std::vector<double> labels = class_labels(4, 3);
  for (const Variant& variant : variants()) {
    Rig rig(model, reft(std::string("positions: f3+l2, tied: false, ") + variant.options));
    rig.shake(0.3);
    rig.widen();
    const LossAndGradients own = gradients_of(rig, texts, labels);
    const auto loss = [&] {
      const Tensor logits = logits_of(rig, texts);
      return summed_loss(TaskKind::kClassification, logits, labels).item<double>();
    };
    const double worst = expect_gradients(loss, rig.tensors, own.gradients, 6, variant.name);
    measured(std::string(variant.name) + " gradient", worst);
  }
}

bool is_zero(const Tensor& tensor) { return tensor.count_nonzero().item<int64_t>() == 0; }

// What the texts of a step do not name is not changed by it. Of a rotation this holds of the rows
// of R as such; its chart moves them together, so that they stay orthonormal.
TEST(Subspaces, RowsThatNoTextNamesAreNotUpdated) {
  const auto model = tiny_model("bert", Precision::kFloat32);
  std::vector<Sequence> texts = random_sequences(model->config, 3, 7, 5);
  texts[0].subspace = {1};
  texts[1].subspace = texts[2].subspace = {1, 2};
  const std::vector<double> labels = class_labels(3, 3);
  for (const Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    Rig rig(model,
            reft(std::string("positions: f3, clamp: length, layers: [0], ") + variant.options));
    rig.shake(0.3);
    const NamedTensors gradients = gradients_of(rig, texts, labels).gradients;
    NamedTensors before;
    for (auto& [name, tensor] : rig.tensors) {
      before[name] = tensor.detach().clone();
      if (gradients.contains(name)) tensor.mutable_grad() = gradients.at(name).clone();
    }
    AdamW optimizer(rig.adapter->params(), {.weight_decay = 0.1});
    optimizer.step(rig.tensors, 1e-2);
    for (const auto& [name, gradient] : gradients) {
      if (!name.starts_with("0.reft/") || name.ends_with(".chart")) continue;
      const Tensor step = rig.tensors.at(name).detach() - before.at(name);
      for (const int64_t row : {0, 3}) {
        EXPECT_TRUE(is_zero(gradient[row])) << name << " " << row;
        EXPECT_TRUE(is_zero(step[row])) << name << " " << row;
      }
      for (const int64_t row : {1, 2}) EXPECT_FALSE(is_zero(gradient[row])) << name << " " << row;
    }
    const std::string chart = "0.reft/enc.0.out.tied.chart";
    if (!gradients.contains(chart)) continue;
    const BoundAdapter bound(*model, *rig.adapter, rig.tensors);
    const Pack pack = pack_of(*model, {lane_of(texts)});
    const Tensor logits = run_lanes(*model, pack, {&bound}).front().logits;
    torch::autograd::backward({summed_loss(TaskKind::kClassification, logits, labels)}, {});
    int64_t bases = 0;
    for (const Tensor& leaf : bound.derived().parts[0]) {
      const bool is_basis = leaf.defined() && leaf.dim() == 2 && leaf.size(1) == kRank;  // [C,R]
      if (!is_basis || !leaf.grad().defined()) continue;
      ++bases;
      EXPECT_TRUE(is_zero(leaf.grad().select(1, 0)) && is_zero(leaf.grad().select(1, 3)));
      EXPECT_FALSE(is_zero(leaf.grad().select(1, 1)) || is_zero(leaf.grad().select(1, 2)));
    }
    EXPECT_EQ(bases, 1);
    EXPECT_TRUE(is_zero(gradients.at(chart).select(1, 3))) << "no row behind the last moves";
  }
}

// Adapters of other ranks beside each other, with texts that name rows and texts that do not.
TEST(Subspaces, LanesOfOnePassAreAsAlone) {
  const auto model = tiny_model("bert", Precision::kFloat32);
  Rig wide(model, reft("positions: f2")),
      narrow(model, "{edits: [{reft: {rank: 1, positions: all}}, {lora: {rank: 2}}]}");
  wide.shake(0.3);
  narrow.shake(0.3);
  const std::vector<Sequence> named = named_texts(model->config),
                              plain = random_sequences(model->config, 3, 6, 9);
  std::vector<Sequence> single = plain;
  single[1].subspace = {0};
  const BoundAdapter first(*model, *wide.adapter, wide.tensors),
      second(*model, *narrow.adapter, narrow.tensors);
  const at::NoGradGuard no_grad;
  const auto lanes =
      run_lanes(*model, pack_of(*model, {lane_of(named), lane_of(plain), lane_of(single)}),
                {&first, &second, &second});
  expect_bits(lanes[0].logits, logits_of(wide, named), "named");
  expect_bits(lanes[1].logits, logits_of(narrow, plain), "plain");
  expect_bits(lanes[2].logits, logits_of(narrow, single), "of rank 1");
}

// Dropout and the factor of a gate act on the change that is left.
TEST(Subspaces, GatesAndDropoutActOnWhatIsLeft) {
  const auto model = tiny_model("bert", Precision::kFloat64);
  std::vector<Sequence> texts = named_texts(model->config);
  const auto logits = [&](const std::string& edit, const Rows& subspace) {
    Rig rig(model, "{edits: [" + edit + "]}");
    rig.shake(0.3);
    rig.widen();
    for (Sequence& text : texts) text.subspace = subspace;
    return logits_of(rig, texts, {.is_training = true});
  };
  for (const char* edit : {"{gate: {}, of: {reft: {rank: 4, positions: all}}}",
                           "{reft: {rank: 4, positions: f2, dropout: 0.3}}",
                           "{reft: {rank: 4, positions: f2, dropout: 0.3, dropout_on: output}}"}) {
    const Tensor all = logits(edit, {});
    expect_near(logits(edit, {0, 1, 2, 3}), all, {1e-12, 0}, edit);
    EXPECT_GT(difference_of(logits(edit, {0}), all).absolute, 1e-3) << edit;
  }
}

TEST(Subspaces, RefuseRowsThatTheAdapterHasNot) {
  const auto model = tiny_model("bert", Precision::kFloat32);
  const auto refused = [&](const std::string& definition, const Rows& subspace,
                           const std::string& message) {
    const Rig rig(model, definition);
    std::vector<Example> examples(2);
    examples[1].source = std::make_shared<const std::string>("rows.tsv");
    examples[1].line = 3;
    examples[1].subspace = subspace;
    expect_message<InputError>([&] { rig.adapter->check_subspaces(examples); }, message);
  };
  const std::string expected = "rows.tsv:3: subspace: expected rows that the adapter has, ";
  refused(reft("positions: f1"), {1, 4}, expected + "0..3, found 4");
  refused(reft("positions: f1, subspace: [3, 1]"), {1, 2}, expected + "1 and 3, found 2");
  refused(
      "{edits: [{reft: {rank: 4, positions: f1}}, {gate: {}, of: {reft: {rank: 2, positions: "
      "l1}}}]}",
      {0, 2}, expected + "0..1, found 2");
  refused("{edits: [{lora: {}}]}", {0},
          "rows.tsv:3: the row has a subspace, and no edit of the adapter acts in a subspace; take "
          "reft, or leave subspace out of the task");
  std::vector<Example> examples(1);
  examples[0].subspace = {0, 3};
  EXPECT_NO_THROW(Rig(model, reft("positions: f1")).adapter->check_subspaces(examples));
  Task task = class_task(3);
  task.subspace_column = "rows";
  EXPECT_NO_THROW(Rig(model, reft("positions: f1"), task));
  expect_message<InputError>([&] { Rig(model, "{edits: [{lora: {}}, {affine: {}}]}", task); },
                             "test: task \"test\" has a column of subspaces, \"rows\", and no edit "
                             "of the adapter acts in a subspace; take reft");
  std::vector<Sequence> texts = random_sequences(model->config, 2, 4, 5);
  texts[1].subspace = {4};
  expect_message<InputError>([&] { logits_of(Rig(model, reft("positions: f1")), texts); },
                             "example 1: expected rows of a subspace in 0..3, found 4");
}

class WrittenTexts : public DecoderAcceptance {};

INSTANTIATE_TEST_SUITE_P(All, WrittenTexts, ::testing::Values("gpt2", "llama", "t5-gated", "bart"),
                         parameter_name);

std::vector<Sequence> named_prompts() {
  std::vector<Sequence> prompts = short_prompts();
  prompts[0].subspace = {0, 2};
  prompts[1].subspace = {1};
  prompts[3].subspace = {0, 1, 2};
  return prompts;
}

// Written with a cache, whose sequences beams branch from, a text is that of one pass; the edit
// acts on the prompt, or on every token.
TEST_P(WrittenTexts, KeepTheSubspacesOfTheirPrompts) {
  const auto model = this->model();
  for (const char* edit :
       {"{reft: {rank: 3, positions: f2+l2, tied: false}}", "{reft: {rank: 3, positions: all}}",
        "{reft: {sites: ['dec.*.out'], rank: 3, positions: all}}"}) {
    const Rig rig = wide_rig(model, edit, 0.4);
    const std::vector<Sequence> prompts = named_prompts();
    expect_teacher_forced(rig, prompts, {.max_new_tokens = 6}, edit);
    expect_teacher_forced(rig, prompts, {.max_new_tokens = 4, .beams = 3},
                          std::string(edit) + " in beams");
    const auto named = written_by(rig, prompts, {.max_new_tokens = 4}),
               all = written_by(rig, short_prompts(), {.max_new_tokens = 4});
    EXPECT_NE(named[0][0].log_probability, all[0][0].log_probability) << edit;
    EXPECT_EQ(named[2][0].log_probability, all[2][0].log_probability) << edit;
  }
}

// The options of a choice go through what their row names.
TEST_P(WrittenTexts, AreRankedInTheSubspacesOfTheirPrompts) {
  const auto model = this->model();
  const Rig rig = wide_rig(model, "{reft: {rank: 3, sites: ['dec.*.out'], positions: all}}", 0.4);
  const std::vector<Sequence> prompts = named_prompts();
  Dataset data = rows_of(prompts);
  for (size_t n = 0; n < prompts.size(); ++n) data.options.push_back({{4, 7}, {5}, {6, 2, 3}});
  const Task task =
      parse_task(yaml("{name: c, kind: choice, prompt: q, options: o, target: t}"), "test");
  const BoundAdapter bound(*model, *rig.adapter, rig.tensors);
  const Choices choices = choose(*model, bound, task, data, {});
  for (size_t n = 0; n < prompts.size(); ++n) {
    for (size_t k = 0; k < 3; ++k)
      EXPECT_NEAR(choices.scores[n][k], teacher_forced(rig, prompts[n], data.options[n][k]),
                  kWritten)
          << n << " " << k;
  }
}

TEST_P(WrittenTexts, HaveGradientsOfDifferences) {
  const auto model = this->model();
  std::vector<Sequence> texts = this->texts(*model);
  texts[0].subspace = {0, 2};
  texts[1].subspace = {1};
  Rig rig = wide_rig(model, "{reft: {rank: 3, positions: all}}", 0.3);
  const LossAndGradients own = text_gradients_of(rig, texts);
  const auto loss = [&] {
    const at::AutoGradMode enabled(true);
    return text_gradients_of(rig, texts).loss;
  };
  expect_gradients(loss, rig.tensors, own.gradients, 3, "texts");
}

}  // namespace
}  // namespace graft::testing::test_reft_subspaces
