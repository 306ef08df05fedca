// Prompt tuning: P learned vectors in the place of word embeddings, before the tokens or after the first of them.
//
// Lester et al. 2021 (arXiv:2104.08691). The rows are tokens to all that follows: they get positions and token type 0, pass the
// embedding norm, attend and are attended to. position: before puts them in front of everything, so that a classifier reads the
// first of them; after_first keeps the model's own first token in its place. Losses and gates skip them.
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "base/error.h"
#include "edit/initial.h"
#include "edit/registry.h"

namespace graft {

namespace {

using at::Tensor;

class Prompt final : public Edit {
 public:
  Prompt(Options& options, const EditTarget& target)
      : length_(options.integer("length", std::min<int64_t>(20, most(target)), 1, most(target))),
        position_(options.choice("position", "before", {"before", "after_first"})),
        initial_(options.choice("init", "normal", {"normal", "words"})),
        site_(target.sites.word()),
        vocabulary_(target.config.vocabulary) {
    EditSpec spec;
    spec.params.push_back({.name = name(), .shape = {length_, site_.output_width}, .site = site_});
    spec.sites = {site_};
    spec.traits.acts_on = ActsOn::kPrompt;
    spec.traits.layout = {.virtual_rows = length_, .virtual_rows_follow_first = position_ == "after_first"};
    declare(std::move(spec));
  }

  Node describe() const override {
    return Node::map(
        {{"prompt",
          Node::map({{"length", Node::integer(length_)}, {"position", Node::text(position_)}, {"init", Node::text(initial_)}})}});
  }

  // normal: N(0, 0.02^2); words: the embeddings of words drawn at random.
  NamedTensors init(const Weights& weights, RandomKey key) const override {
    if (initial_ == "normal") return {{name(), normal_tensor({length_, site_.output_width}, 0.02, key.with(name()))}};
    Random random(key.with(name()));
    std::vector<int64_t> words;
    for (int64_t i = 0; i < length_; ++i) words.push_back(static_cast<int64_t>(random.below(static_cast<uint64_t>(vocabulary_))));
    return {{name(), weights.base(kWordTable).index_select(0, at::tensor(words, at::kLong)).to(at::kFloat)}};
  }

  Change change(const Params& derived, const SiteView& view, const Tensor&, const Weight& weight, Context&) const override {
    ensure(!weight.rows.defined() && weight.scale == 1.0, "a prompt is in a sequence or not: it has no weight");
    const int64_t first = position_ == "after_first" ? 1 : 0, count = view.lane.num_sequences;
    std::vector<int64_t> rows;
    for (int64_t n = 0; n < count; ++n) {
      const int64_t begin = view.pack.offsets[static_cast<size_t>(view.lane.first_sequence + n)] + first;
      for (int64_t p = 0; p < length_; ++p) {
        ensure(view.pack.token[static_cast<size_t>(begin + p)] < 0, "a pack has rows for the prompt of its lane");
        rows.push_back(begin + p - view.lane.first_row);
      }
    }
    const Tensor& prompt = derived.at(name());
    return {.mul = at::zeros({1}, prompt.options().requires_grad(false)),
            .add = prompt.repeat({count, 1}),
            .rows = at::tensor(rows, at::kLong)};
  }

 private:
  // One position at least is left for a token.
  static int64_t most(const EditTarget& target) { return std::min<int64_t>(target.config.max_positions - 1, 1 << 16); }

  std::string name() const { return site_.name + ".prompt"; }

  int64_t length_;
  std::string position_, initial_;
  Site site_;
  int64_t vocabulary_;
};

}  // namespace

const Method kPrompt = {.name = "prompt",
                        .nesting = {"its rows are in a sequence or not: no weight takes them out", nullptr,
                                    "the rows of a prompt belong to no token that could be routed"},
                        .make = make_of<Prompt>,
                        .no_fold = "its rows come before every text"};

}  // namespace graft
