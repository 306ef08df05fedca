// Listens beside an adapter: what passes some sites, after its edits.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "model/hooks.h"
#include "tensor/named_tensors.h"

namespace graft::testing {

class Recorder final : public Hooks {
 public:
  Recorder(const Hooks& inner, std::set<std::string> names)
      : inner_(inner), names_(std::move(names)) {}
  bool wants(const Site& site) const override {
    return names_.contains(site.name) || inner_.wants(site);
  }
  SiteResult apply(const SiteView& view) const override {
    SiteResult out = inner_.wants(view.site) ? inner_.apply(view) : SiteResult{view.y};
    if (names_.contains(view.site.name)) xs[view.site.name] = view.x, ys[view.site.name] = out.y;
    return out;
  }
  PrefixResult prefix(const SiteView& view) const override { return inner_.prefix(view); }
  mutable NamedTensors xs, ys;

 private:
  const Hooks& inner_;
  std::set<std::string> names_;
};

}  // namespace graft::testing
