// How the numbers that a gate has for the rows of a sequence become its value.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "edit/sequences.h"
#include "edit/target.h"

namespace graft {

class GatePooling {
 public:
  enum class Kind { kMean, kMeanAll, kCausalMean, kPromptMean };

  struct Choice {
    bool is_central = false;        // of a gate that has one value a sequence always
    int64_t longest = 1 << 16;      // rows that the model has positions for
    std::optional<Kind> kind = {};  // unset: auto
    int64_t padded_to = 128;        // of kMeanAll

    void visit(OptionVisitor& v);
  };

  // The defaults of `target`.
  static Choice defaults(const EditTarget& target, bool is_central);

  // By auto a site of a decoder's rows gets `of_decoder`, all others the mean; what would show a
  // token those that it is to predict is refused. Faults are noted in `options`.
  GatePooling(Options& options, const Choice& choice, const EditTarget& target,
              const std::vector<Site>& sites, Kind of_decoder);
  // Of a gate that reads no row.
  GatePooling() = default;

  Kind at(const Site& site) const { return kinds_.at(site.index); }
  bool has(Kind kind) const;
  RowsCounted counted(const Site& site) const;  // not for kCausalMean
  int64_t padded_length() const { return padded_length_; }
  // What the gate's value depends on, in the last stack.
  Reads reads() const { return reads_; }
  // With the kind that all sites have, where they have one.
  Choice described() const;

 private:
  Choice choice_;
  std::map<int64_t, Kind> kinds_;  // by the site's index
  int64_t padded_length_ = 0;  // of kMeanAll: shorter sequences get pad rows, which count; 0 = none
  Reads reads_ = Reads::kRow;
};

}  // namespace graft
