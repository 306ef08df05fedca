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
  Node describe_options() const override { return Node::map(); }
  TensorList init(const Weights&, RandomKey key) const override {
    TensorList out;
    for (const ParamSpec& param : spec().params)
      out.append(normal_tensor(param.shape, 0.3, key.with(param.name)));
    return out;
  }
};

class Prefix final : public ToyEdit {
 public:
  Prefix(const ModelConfig& config, const Sites& sites, int64_t rows) {
    for (const Site& site : sites.all()) {
      if (site.kind != SiteKind::kAttention) continue;
      spec_.sites.push_back(site);
      const ParamSpec heads{.shape = {rows, config.last().heads, config.last().head_width()}};
      tensors_[site] = {.keys = declare(site, "keys", heads),
                        .values = declare(site, "values", heads),
                        .bias = declare(site, "bias", {.shape = {1}})};
    }
  }
  std::string method() const override { return "prefix"; }
  std::optional<PrefixRows> prefix(const Params& p, const SiteView& view, const Weight&,
                                   const Context&) const override {
    const auto [keys, values, bias] = tensors_.at(view.site);
    return PrefixRows{
        {0, 0, p[keys], p[values], {}, {}, p[bias].expand({view.lane.num_sequences})}};
  }

 private:
  struct Rows {
    ParamId keys, values, bias;
  };
  BySite<Rows> tensors_;
};

// Rows of sequence n of the lane, counted from the lane's first row.
std::pair<int64_t, int64_t> rows_of(const SiteView& view, int64_t n) {
  const auto index = static_cast<size_t>(view.lane.first_sequence + n);
  return {view.pack.sequences[index].begin - view.lane.first_row,
          view.pack.sequences[index].end - view.lane.first_row};
}

class Around : public ToyEdit {
 public:
  explicit Around(std::unique_ptr<Edit> child) : child_(std::move(child)) {}
  Tensor input(const SiteView& view) const override { return child_->input(view); }

 protected:
  // A vector of each of the child's sites, then the child's params below "of/", with `stacked` in
  // front of every shape.
  void declare_around_child(const char* own, int64_t Site::*length,
                            const std::vector<int64_t>& shape,
                            const std::vector<int64_t>& stacked) {
    for (const Site& site : child_->spec().sites) {
      std::vector<int64_t> whole{site.*length};
      whole.insert(whole.end(), shape.begin(), shape.end());
      own_[site] = declare(site, own, {.shape = std::move(whole)});
    }
    first_ = spec_.params.size();
    for (ParamSpec param : child_->spec().params) {
      param.name = "of/" + param.name;
      param.shape.insert(param.shape.begin(), stacked.begin(), stacked.end());
      declare(std::move(param));
    }
    spec_.sites = child_->spec().sites;
  }
  Params of(const Params& whole) const { return whole.from(first_); }

  BySite<ParamId> own_;
  size_t first_ = 0;
  std::unique_ptr<Edit> child_;
};

class Gate final : public Around {
 public:
  explicit Gate(std::unique_ptr<Edit> child) : Around(std::move(child)) {
    declare_around_child("gate", &Site::output_width, {}, {});
    spec_.traits.reads = Reads::kSequence;
  }
  std::string method() const override { return "gate"; }
  Change change(const Params& p, const SiteView& view, const Tensor& input, const Weight& weight,
                const Context& context) const override {
    std::vector<Tensor> gates;
    int64_t done = 0;
    for (int64_t n = 0; n < view.lane.num_sequences; ++n) {
      const auto [begin, end] = rows_of(view, n);
      const Tensor mean = view.y.slice(0, begin, end).mean(0);  // [out]
      gates.push_back(at::sigmoid((mean * p[own_.at(view.site)]).sum()).expand({end - begin}));
      done = end;
    }
    if (done < view.lane.num_rows)
      gates.push_back(at::zeros({view.lane.num_rows - done}, view.y.options()));  // fillers
    return child_->change(of(p), view, input, {weight.scale, at::cat(gates).unsqueeze(1)}, context);
  }
};

class Router final : public Around {
 public:
  Router(std::unique_ptr<Edit> child, int64_t experts)
      : Around(std::move(child)), experts_(experts) {
    declare_around_child("router", &Site::input_width, {experts_}, {experts_});
  }
  std::string method() const override { return "router"; }
  Change change(const Params& p, const SiteView& view, const Tensor& input, const Weight&,
                const Context& context) const override {
    const Tensor shares = at::softmax(at::mm(input, p[own_.at(view.site)]), 1);  // [T, E]
    return child_->blend(of(p), experts_, view, input, {child_->scale(view.site), shares}, context);
  }

 private:
  int64_t experts_;
};

// A vector of each name at each site.
class AtSites : public ToyEdit {
 protected:
  AtSites(std::vector<Site> sites, const std::vector<const char*>& names) {
    spec_.sites = std::move(sites);
    for (const Site& site : spec_.sites) {
      for (const char* name : names)
        vectors_[site].push_back(declare(site, name, {.shape = {site.output_width}}));
    }
  }
  BySite<std::vector<ParamId>> vectors_;
};

class Affine final : public AtSites {
 public:
  explicit Affine(std::vector<Site> sites) : AtSites(std::move(sites), {"mul", "add"}) {}
  std::string method() const override { return "affine"; }
  Change change(const Params& p, const SiteView& view, const Tensor&, const Weight&,
                const Context&) const override {
    const std::vector<ParamId>& own = vectors_.at(view.site);
    return {.mul = p[own[0]], .add = p[own[1]], .code = {}, .basis = {}, .rows = {}};
  }
};

class FirstRows final : public AtSites {
 public:
  explicit FirstRows(std::vector<Site> sites) : AtSites(std::move(sites), {"add"}) {}
  std::string method() const override { return "first_rows"; }
  Change change(const Params& p, const SiteView& view, const Tensor&, const Weight&,
                const Context&) const override {
    std::vector<int64_t> rows;
    for (int64_t n = 0; n < view.lane.num_sequences; ++n) rows.push_back(rows_of(view, n).first);
    return {.mul = {},
            .add = p[vectors_.at(view.site)[0]],
            .code = {},
            .basis = {},
            .rows = at::tensor(rows, at::kLong)};
  }
};

}  // namespace

std::unique_ptr<Edit> make_toy_prefix(const ModelConfig& config, const Sites& sites, int64_t rows) {
  return std::make_unique<Prefix>(config, sites, rows);
}
std::unique_ptr<Edit> make_toy_gate(std::unique_ptr<Edit> child) {
  return std::make_unique<Gate>(std::move(child));
}
std::unique_ptr<Edit> make_toy_router(std::unique_ptr<Edit> child, int64_t experts) {
  return std::make_unique<Router>(std::move(child), experts);
}
std::unique_ptr<Edit> make_toy_affine(std::vector<Site> sites) {
  return std::make_unique<Affine>(std::move(sites));
}
std::unique_ptr<Edit> make_toy_first_rows(std::vector<Site> sites) {
  return std::make_unique<FirstRows>(std::move(sites));
}

}  // namespace graft::testing
