// Collect: reads what leaves a site, and changes nothing.
//
// Of each text the mean over the chosen tokens goes into the records of the pass, "<site>.states",
// [N,C]: at one token the state itself. It is the source of an interchange, one side of a contrast,
// or an embedding of the text (`graft collect`).
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "edit/registry.h"
#include "edit/sequences.h"
#include "edit/token_choice.h"

namespace graft {

namespace {

using at::Tensor;

struct CollectOptions {
  SiteChoice where{{"enc.*.out|out"}};
  TokenChoice tokens{.positions = "last", .clamp = Clamp::kLength};

  void visit(OptionVisitor& v) {
    where.visit(v);
    tokens.visit(v);
  }
};

class Collect final : public Edit {
 public:
  Collect(Options& options, const EditTarget& target)
      : options_(read_options_at(options, target, CollectOptions{})) {
    options_.tokens.match(options, options_.where.sites, target.config);
    for (const Site& site : options_.where.sites) {
      if (site.kind == SiteKind::kAttention)
        options.fault("sites",
                      "collect reads what leaves a site; " + site.name + " is an attention site");
    }
    spec_.sites = options_.where.sites;
    spec_.traits = {.reads = options_.tokens.parsed.is_all ? Reads::kSequence : Reads::kPrompt,
                    .acts_on = options_.tokens.parsed.is_all ? ActsOn::kEveryRow : ActsOn::kPrompt,
                    .identity_at_init = true,
                    .gives_records = true};
  }

  std::string method() const override { return kCollect.name; }
  Node describe_options() const override { return options_node(options_); }

  Tensor input(const SiteView& view) const override { return view.y; }

  Change change(const Params&, const SiteView& view, const Tensor& input, const Weight&,
                const Context& context) const override {
    Change out;
    if (context.keeps_records)
      out.side.records.push_back({view.site.name + ".states", mean_states(view, input.detach())});
    return out;
  }

 private:
  // [N,C] float32. A text without a chosen token has zeros.
  Tensor mean_states(const SiteView& view, const Tensor& y) const {
    const EditedRows found = options_.tokens.rows(view);
    const Tensor rows = at::cat({found.prefix, found.suffix});
    const Tensor of_row = sequence_index(view, RowsCounted::kAll).index_select(0, rows);
    const Tensor states = y.index_select(0, rows).to(at::kFloat);
    const int64_t texts = view.lane.num_sequences;
    const Tensor sums = at::zeros({texts, y.size(1)}, at::kFloat).index_add(0, of_row, states);
    const Tensor counts =
        at::zeros({texts}, at::kFloat).index_add(0, of_row, at::ones({rows.numel()}, at::kFloat));
    return sums / counts.clamp_min(1).unsqueeze(1);
  }

  CollectOptions options_;
};

}  // namespace

const Method kCollect = {
    .name = "collect",
    .about = "a record of what leaves a site at chosen tokens; nothing is changed",
    .options = [] { return option_rows(CollectOptions{}); },
    .nesting = {"there is no change to weigh", "it has no tensors to choose among",
                "it has no tensors to mix"},
    .make = make_of<Collect>,
    .no_fold = "it changes nothing"};

}  // namespace graft
