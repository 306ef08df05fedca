// Training on several data sets at once: how often each is drawn, and which row of which set comes
// when.
//
// Rates are those of T0 (Sanh et al. 2022) and T5: proportional to the number of rows, with a cap.
// The order is a pure function of (sizes, rates, length, seed, epoch): it depends on nothing that
// happened before and needs no saved state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/document.h"

namespace graft {

// One data set of a mixture, or one template of a data set.
struct MixturePart {
  std::string name;
  std::string task;  // a ready task or a file, as --task takes it
  std::string data;  // a data file
  std::optional<double>
      rate;  // how often it is drawn beside the others, instead of its number of rows; positive
  std::optional<int64_t>
      cap;  // at most this many rows count towards the rate; with `templates`, shared by them
  int64_t templates = 1;  // this part is one of so many templates of one data set

  friend bool operator==(const MixturePart&, const MixturePart&) = default;
};

// A list of {name, task, data, rate?, cap?, templates?}, strict; `source` names it, and `path` its
// place there. Names are different. Throws InputError listing all faults.
std::vector<MixturePart> parse_mixture(const Node& list, const std::string& source,
                                       const std::string& path = "/mixture");
Node mixture_to_node(const std::vector<MixturePart>& parts);

// The rate of each part, not normalised: `rate` where given; else its rows, or where they are more
// than the cap, cap / templates rounded down (T0: a data set of more than 500,000 rows counts
// 500,000 // templates for each template, a smaller one all its rows for each). sizes: rows of each
// part. Throws InputError when a part has no row, or its rate comes to nothing.
std::vector<double> mixture_rates(const std::vector<MixturePart>& parts,
                                  const std::vector<int64_t>& sizes);

struct MixtureRow {
  int64_t part = 0;
  int64_t row = 0;  // in its part

  friend bool operator==(const MixtureRow&, const MixtureRow&) = default;
};

// `length` rows of epoch `epoch`. Each is of part i with probability rate_i / sum of rates,
// independent of all others; the rows of a part are drawn without replacement, and start again in
// another order when all have come. Requires: as many sizes as rates; length >= 1.
std::vector<MixtureRow> mixture_epoch(const std::vector<int64_t>& sizes,
                                      const std::vector<double>& rates, int64_t length,
                                      uint64_t seed, int64_t epoch);

}  // namespace graft
