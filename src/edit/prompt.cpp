// Prompt tuning: P learned vectors in the place of word embeddings, before the tokens or after the
// first of them.
//
// Lester et al. 2021 (arXiv:2104.08691). The rows are tokens to all that follows: they get
// positions and token type 0, pass the embedding norm, attend and are attended to. position: before
// puts them in front of everything, so that a classifier reads the first of them; after_first keeps
// the model's own first token in its place. Losses and gates skip them.
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "base/error.h"
#include "edit/initial.h"
#include "edit/registry.h"

namespace graft {

namespace {

using at::Tensor;

enum class PromptPosition { kBefore, kAfterFirst };
constexpr Name<PromptPosition> kPromptPositions[] = {{PromptPosition::kBefore, "before"},
                                                     {PromptPosition::kAfterFirst, "after_first"}};

enum class PromptInit { kNormal, kWords };
constexpr Name<PromptInit> kPromptInits[] = {{PromptInit::kNormal, "normal"},
                                             {PromptInit::kWords, "words"}};

struct PromptOptions {
  int64_t most = 1 << 16;  // rows that the model's positions leave room for
  int64_t length = 20;
  PromptPosition position = PromptPosition::kBefore;
  PromptInit init = PromptInit::kNormal;

  void visit(OptionVisitor& v) {
    v.integer("length", length, {1, most},
              {"rows P; one position at least is left for a token", "20, or what fits"});
    v.choice("position", position, kPromptPositions, "before all tokens, or behind the first");
    v.choice("init", init, kPromptInits,
             "at first N(0, 0.02^2), or the embeddings of words drawn at random");
  }
};

class PromptEdit final : public Edit {
 public:
  PromptEdit(Options& options, const EditTarget& target)
      : options_(read_options(options, defaults(target))),
        site_(target.sites.word()),
        vocabulary_(target.config.vocabulary),
        embedding_scale_(target.config.embedding_scale) {
    prompt_ = declare(site_, "prompt",
                      {.shape = {options_.length, site_.output_width}, .initial = initial_rows()});
    spec_.sites = {site_};
    spec_.traits.acts_on = ActsOn::kPrompt;
    spec_.traits.layout = {
        .virtual_rows = options_.length,
        .virtual_rows_follow_first = options_.position == PromptPosition::kAfterFirst};
  }

  std::string method() const override { return kPrompt.name; }
  Node describe_options() const override { return options_node(options_); }

  Change change(const Params& derived, const SiteView& view, const Tensor&, const Weight& weight,
                const Context&) const override {
    ensure(!weight.rows.defined() && weight.scale == 1.0,
           "a prompt is in a sequence or not: it has no weight");
    const int64_t first = options_.position == PromptPosition::kAfterFirst ? 1 : 0,
                  count = view.lane.num_sequences;
    std::vector<int64_t> rows;
    for (int64_t n = 0; n < count; ++n) {
      const int64_t begin =
          view.pack.sequences[static_cast<size_t>(view.lane.first_sequence + n)].begin + first;
      for (int64_t p = 0; p < options_.length; ++p) {
        ensure(view.pack.token[static_cast<size_t>(begin + p)] < 0,
               "a pack has rows for the prompt of its lane");
        rows.push_back(begin + p - view.lane.first_row);
      }
    }
    const Tensor prompt = derived[prompt_];
    return {.mul = at::zeros({1}, prompt.options().requires_grad(false)),
            .add = prompt.repeat({count, 1}),
            .rows = at::tensor(rows, at::kLong)};
  }

 private:
  static PromptOptions defaults(const EditTarget& target) {
    const int64_t most = std::min<int64_t>(target.config.max_positions - 1, 1 << 16);
    return {.most = most, .length = std::min<int64_t>(20, most)};
  }

  // normal: N(0, 0.02^2); words: the embeddings of words drawn at random.
  Initial initial_rows() const {
    if (options_.init == PromptInit::kNormal) return normal(0.02);
    return [length = options_.length, vocabulary = vocabulary_, scale = embedding_scale_](
               const ParamSpec&, const Weights& weights, RandomKey key) {
      Random random(key);
      std::vector<int64_t> words;
      for (int64_t i = 0; i < length; ++i)
        words.push_back(static_cast<int64_t>(random.below(static_cast<uint64_t>(vocabulary))));
      return weights.base(kWordTable).index_select(0, at::tensor(words, at::kLong)).to(at::kFloat) *
             scale;
    };
  }

  PromptOptions options_;
  Site site_;
  int64_t vocabulary_;
  double embedding_scale_;  // of words, where the trunk has one
  ParamId prompt_;
};

}  // namespace

const Method kPrompt = {
    .name = "prompt",
    .about = "learned rows in the place of word embeddings, before the tokens",
    .options = [] { return option_rows(PromptOptions{}); },
    .nesting = {"its rows are in a sequence or not: no weight takes them out", nullptr,
                "the rows of a prompt belong to no token that could be routed"},
    .make = make_of<PromptEdit>,
    .no_fold = "its rows come before every text"};

}  // namespace graft
