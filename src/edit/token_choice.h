// The options by which an edit chooses tokens of a prompt.
#pragma once

#include <string>
#include <vector>

#include "base/option_visitor.h"
#include "edit/positions.h"

namespace graft {

// The options `positions`, `clamp` and `skip_last` of an edit, and what they say.
struct TokenChoice {
  std::string positions = "f3";
  Clamp clamp = Clamp::kCode;
  bool skips_last = false;
  PositionChoice parsed = {};

  void visit(OptionVisitor& v);
  // Faults are noted in `options`: those of the options, and of sites whose rows are no prompt's.
  void match(Options& options, const std::vector<Site>& sites, const ModelConfig& config);

  TokenClaim claim(const Place& site) const { return {site, parsed, clamp, skips_last}; }
  EditedRows rows(const SiteView& view) const {
    return edited_rows(view, parsed, clamp, skips_last);
  }
};

}  // namespace graft
