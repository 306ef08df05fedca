// Internal to src/infer.
#pragma once

#include <optional>
#include <vector>

#include "infer/kept_rows.h"
#include "infer/samples.h"

namespace graft {

// A pass that some rows of a data set go through, as one lane for each of the samples
// [begin, end) that share it.
struct SamplePass {
  size_t begin = 0, end = 0;
  std::vector<LaneInput> inputs;
  std::vector<LaneAdapter> lanes;
  std::optional<KnownRows> known;  // where the pass begins, if rows are kept

  // The pass must live as long.
  ForwardOptions options() const {
    ForwardOptions options;
    if (known) options.from = &*known;
    return options;
  }
};

// The passes of the rows `group`. `kept`: of the data set, or null.
std::vector<SamplePass> sample_passes(const std::vector<Sample>& samples, const Dataset& data,
                                      const std::vector<int64_t>& group, KeptRows* kept);

}  // namespace graft
