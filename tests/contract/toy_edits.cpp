#include "tests/contract/toy_edits.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include "base/error.h"
#include "edit/initial.h"

namespace graft::testing {

namespace {

using at::Tensor;

class ToyEdit : public Edit {
 public:
  Node describe() const override { return Node::map({{"toy", Node::null()}}); }
  NamedTensors init(const Weights&, RandomKey key) const override {
    NamedTensors out;
    for (const ParamSpec& param : spec().params) out[param.name] = normal_tensor(param.shape, 0.3, key.with(param.name));
    return out;
  }
};

class Prefix final : public ToyEdit {
 public:
  Prefix(const ModelConfig& config, const Sites& sites, int64_t rows) {
    EditSpec spec;
    for (const Site& site : sites.all()) {
      if (site.kind != SiteKind::kAttention) continue;
      spec.sites.push_back(site);
      for (const char* part : {".keys", ".values"})
        spec.params.push_back({.name = site.name + part, .shape = {rows, config.last().heads, config.last().head_width()}});
      spec.params.push_back({.name = site.name + ".bias", .shape = {1}});
    }
    declare(std::move(spec));
  }
  std::optional<LanePrefix> prefix(const Params& p, const SiteView& view, const Weight&, Context&) const override {
    const std::string& name = view.site.name;
    return LanePrefix{
        0, 0, p.at(name + ".keys"), p.at(name + ".values"), {}, {}, p.at(name + ".bias").expand({view.lane.num_sequences})};
  }
};

// Rows of sequence n of the lane, counted from the lane's first row.
std::pair<int64_t, int64_t> rows_of(const SiteView& view, int64_t n) {
  const auto index = static_cast<size_t>(view.lane.first_sequence + n);
  return {view.pack.offsets[index] - view.lane.first_row, view.pack.offsets[index + 1] - view.lane.first_row};
}

class Around : public ToyEdit {
 public:
  explicit Around(std::unique_ptr<Edit> child) : child_(std::move(child)) {}
  Tensor input(const SiteView& view) const override { return child_->input(view); }

 protected:
  // The child's params below "of/", with `stacked` in front of every shape.
  EditSpec spec_around_child(const std::vector<int64_t>& stacked) const {
    EditSpec spec = child_->spec();
    for (ParamSpec& param : spec.params) {
      param.name = "of/" + param.name;
      param.shape.insert(param.shape.begin(), stacked.begin(), stacked.end());
    }
    spec.traits = {};
    return spec;
  }
  std::unique_ptr<Edit> child_;
};

class Gate final : public Around {
 public:
  explicit Gate(std::unique_ptr<Edit> child) : Around(std::move(child)) {
    EditSpec spec = spec_around_child({});
    for (const Site& site : spec.sites)
      spec.params.push_back({.name = site.name + ".gate", .shape = {site.output_width}});
    spec.traits.reads = Reads::kSequence;
    declare(std::move(spec));
  }
  Change change(const Params& p, const SiteView& view, const Tensor& input, const Weight& weight,
                Context& context) const override {
    std::vector<Tensor> gates;
    int64_t done = 0;
    for (int64_t n = 0; n < view.lane.num_sequences; ++n) {
      const auto [begin, end] = rows_of(view, n);
      const Tensor mean = view.y.slice(0, begin, end).mean(0);  // [out]
      gates.push_back(at::sigmoid((mean * p.at(view.site.name + ".gate")).sum()).expand({end - begin}));
      done = end;
    }
    if (done < view.lane.num_rows) gates.push_back(at::zeros({view.lane.num_rows - done}, view.y.options()));  // fillers
    return child_->change(p.below("of"), view, input, {weight.scale, at::cat(gates).unsqueeze(1)}, context);
  }
};

class Router final : public Around {
 public:
  Router(std::unique_ptr<Edit> child, int64_t experts) : Around(std::move(child)), experts_(experts) {
    EditSpec spec = spec_around_child({experts_});
    for (const Site& site : spec.sites)
      spec.params.push_back({.name = site.name + ".router", .shape = {site.input_width, experts_}});
    declare(std::move(spec));
  }
  Change change(const Params& p, const SiteView& view, const Tensor& input, const Weight&, Context& context) const override {
    const Tensor shares = at::softmax(at::mm(input, p.at(view.site.name + ".router")), 1);  // [T, E]
    return child_->blend(p.below("of"), experts_, view, input, {child_->scale(view.site), shares}, context);
  }

 private:
  int64_t experts_;
};

// A vector of each name at each site.
class AtSites : public ToyEdit {
 protected:
  AtSites(std::vector<Site> sites, const std::vector<const char*>& names) {
    EditSpec spec;
    spec.sites = std::move(sites);
    for (const Site& site : spec.sites) {
      for (const char* name : names) spec.params.push_back({.name = site.name + name, .shape = {site.output_width}});
    }
    declare(std::move(spec));
  }
};

class Affine final : public AtSites {
 public:
  explicit Affine(std::vector<Site> sites) : AtSites(std::move(sites), {".mul", ".add"}) {}
  Change change(const Params& p, const SiteView& view, const Tensor&, const Weight&, Context&) const override {
    return {.mul = p.at(view.site.name + ".mul"), .add = p.at(view.site.name + ".add"), .code = {}, .basis = {}, .rows = {}};
  }
};

class FirstRows final : public AtSites {
 public:
  explicit FirstRows(std::vector<Site> sites) : AtSites(std::move(sites), {".add"}) {}
  Change change(const Params& p, const SiteView& view, const Tensor&, const Weight&, Context&) const override {
    std::vector<int64_t> rows;
    for (int64_t n = 0; n < view.lane.num_sequences; ++n) rows.push_back(rows_of(view, n).first);
    return {.mul = {}, .add = p.at(view.site.name + ".add"), .code = {}, .basis = {}, .rows = at::tensor(rows, at::kLong)};
  }
};

}  // namespace

std::unique_ptr<Edit> make_toy_prefix(const ModelConfig& config, const Sites& sites, int64_t rows) {
  return std::make_unique<Prefix>(config, sites, rows);
}
std::unique_ptr<Edit> make_toy_gate(std::unique_ptr<Edit> child) { return std::make_unique<Gate>(std::move(child)); }
std::unique_ptr<Edit> make_toy_router(std::unique_ptr<Edit> child, int64_t experts) {
  return std::make_unique<Router>(std::move(child), experts);
}
std::unique_ptr<Edit> make_toy_affine(std::vector<Site> sites) { return std::make_unique<Affine>(std::move(sites)); }
std::unique_ptr<Edit> make_toy_first_rows(std::vector<Site> sites) { return std::make_unique<FirstRows>(std::move(sites)); }

}  // namespace graft::testing
