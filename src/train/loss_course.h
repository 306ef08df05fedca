// Whether a run learned anything: where its loss began and ended, beside that of answers which do
// not read their row.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/document.h"
#include "base/files.h"
#include "train/config.h"

namespace graft {

struct LossCourse {
  double first = 0, last = 0;   // means over the first and the last tenth of the steps
  std::optional<double> blind;  // blind_loss of the training rows (data/report.h)
};

// losses: of every step, at least one.
LossCourse loss_course(const std::vector<double>& losses, std::optional<double> blind);

// The last losses are above 95 % of `blind`; of texts, which have none, above 99 % of the first.
bool has_hardly_fallen(const LossCourse& course);

// What a person is told then, with the way out.
std::string flat_loss_warning(const LossCourse& course, const RunConfig& config);

Node to_node(const LossCourse& course);  // {first, last, blind}

// The losses of all steps in a run's log.
std::vector<double> logged_losses(const Path& log);

}  // namespace graft
